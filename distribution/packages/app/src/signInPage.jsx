import { SignInPageBlueprint } from '@backstage/plugin-app-react';
import { z } from 'zod/v4';

// Sign-in without a click: GET <backend>/api/auth/<provider>/refresh, which orbitd's proxy answers with the session's
// Backstage identity. Another provider: app.extensions: [{ "sign-in-page:app": { config: { provider: … } } }]
export const signInPage = SignInPageBlueprint.makeWithOverrides({
  configSchema: { provider: z.string().default('orbitd') },
  factory(originalFactory, { config }) {
    return originalFactory({
      loader: async () => {
        const { ProxiedSignInPage } = await import('@backstage/core-components');
        return props => <ProxiedSignInPage {...props} provider={config.provider} />;
      },
    });
  },
});
