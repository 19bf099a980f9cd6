import ReactDOM from 'react-dom/client';
import { createApp } from '@backstage/frontend-defaults';
import { createFrontendModule } from '@backstage/frontend-plugin-api';
import '@backstage/ui/css/styles.css';
import { navigation } from './navigation';
import { signInPage } from './signInPage';
import { startPage } from './startPage';

// Plugins are not listed here: the build packs every dependency that is one, and the launcher names those of this
// workspace in app.packages.include.
const app = createApp({
  features: [createFrontendModule({ pluginId: 'app', extensions: [signInPage, startPage, navigation] })],
});

ReactDOM.createRoot(document.getElementById('root')).render(app.createRoot());
