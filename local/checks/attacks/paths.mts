/** Other spellings of what is closed, and ways round the sign-in. */

import type { SignInSuite } from './suite.mjs';
import { sessionCookie } from '../../clients/person.mjs';
import { assistant, search } from '../api.mjs';

export async function pathsLeadNowhere(suite: SignInSuite): Promise<void> {
  const cookie = await sessionCookie(suite.deployment.url, 'someone@example.com');
  suite.checks.heading('Paths that lead nowhere');
  await suite.spellings([
    assistant, '/ajax-api/3.0/mlflow/%61ssistant/config', '/ajax-api/3.0/mlflow/assistant%2fconfig', '/ajax-api/3.0/mlflow%2fassistant%2fconfig', '/ajax-api/3.0/mlflow//assistant/config',
    '/ajax-api/3.0/mlflow/./assistant/config', '/ajax-api/3.0/x/../mlflow/assistant/config', '/ajax-api/3.0/mlflow/x/%2e%2e/assistant/config', '/ajax-api/3.0/mlflow/assistant;x/config',
    '/ajax-api/3.0/mlflow/ASSISTANT/config', '//ajax-api/3.0/mlflow/assistant/config', '/ajax-api/3.0/mlflow/assistant/config/', '/ajax-api/3.0/mlflow/assistant/config?x=/', '/ajax-api/3.0/mlflow/assistant%00/config',
  ], path => `the assistant as ${path}, with a session`, path => send => suite.reaches(send, path, { headers: { cookie } }), {
    OAUTH2_PROXY_UPSTREAMS: suite.upstreams[0],
  });
  await suite.spellings([
    `/${search}`, `/.${search}`, search.replace('/api', '/%61pi'), `/api/..${search}`, `/ping/..${search}`, `/ping/%2e%2e${search}`, `/oauth2/..${search}`, `/oauth2/static/..${search}`, search.replace('/api', '/API'),
    search.replace('/2.0', ';x/2.0'), search.replace('/2.0/', '/2.0%2f'), '/get-artifact?path=x&run_uuid=x', '/model-versions/get-artifact?path=x&name=x&version=1', '/static-files/../api/2.0/mlflow/experiments/search',
    '/health', '/version', '/metrics', '/graphql', '/v1/traces', '/gateway/discovery/endpoints', '/docs', '/openapi.json',
  ], path => `${path}, without signing in`, path => send => suite.reaches(send, path), { OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*' });
}
