/** Other spellings of closed paths, and paths that could avoid the sign-in. */

import { paths } from './forgeries.mjs';
import { reaches, type SignInSuite } from './suite.mjs';
import { sessionCookie } from '../../clients/person.mjs';
import { assistant } from '../api.mjs';

export async function pathsLeadNowhere(suite: SignInSuite): Promise<void> {
  const cookie = await sessionCookie(suite.deployment.url, 'someone@example.com');
  suite.checks.heading('These paths are rejected');
  await suite.spellings([
    assistant, '/ajax-api/3.0/mlflow/%61ssistant/config', '/ajax-api/3.0/mlflow/assistant%2fconfig', '/ajax-api/3.0/mlflow%2fassistant%2fconfig', '/ajax-api/3.0/mlflow//assistant/config',
    '/ajax-api/3.0/mlflow/./assistant/config', '/ajax-api/3.0/x/../mlflow/assistant/config', '/ajax-api/3.0/mlflow/x/%2e%2e/assistant/config', '/ajax-api/3.0/mlflow/assistant;x/config',
    '/ajax-api/3.0/mlflow/ASSISTANT/config', '//ajax-api/3.0/mlflow/assistant/config', '/ajax-api/3.0/mlflow/assistant/config/', '/ajax-api/3.0/mlflow/assistant/config?x=/', '/ajax-api/3.0/mlflow/assistant%00/config',
  ], path => `the assistant as ${path}, with a session`, path => send => reaches(send, path, { headers: { cookie } }), {
    OAUTH2_PROXY_UPSTREAMS: suite.upstreams[0],
  });
  await suite.spellings(paths, path => `${path}, without signing in`, path => send => reaches(send, path), { OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*' });
}
