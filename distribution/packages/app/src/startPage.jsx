import { PageBlueprint } from '@backstage/frontend-plugin-api';
import { Navigate } from 'react-router-dom';

// The app opens on the catalogue. It has no title and no route reference, so it stays out of the navigation.
export const startPage = PageBlueprint.make({
  name: 'start',
  params: { path: '/', loader: async () => <Navigate to="/catalog" replace /> },
});
