/**
 * The servers that are compared: the same MLflow, oauth2-proxy, PostgreSQL and S3 for all of them, but a database and a folder of the
 * bucket of their own.
 */

import { join } from 'node:path';
import type { Deployment } from '../local/deployment.mjs';
import { bearer, client } from '../local/http.mjs';
import { Person } from '../local/person.mjs';
import { Daemon, freePort, untilReady } from '../local/processes.mjs';
import { personToken } from '../local/tokens.mjs';

export type SignIn = 'none' | 'cookie' | 'bearer';

export interface Server {
  readonly name: string;
  readonly url: string;
  /** The headers of a client, by how it shows who it is. */
  readonly clients: Partial<Record<SignIn, Record<string, string>>>;
  /** The name of its database. */
  readonly database: string;
  /** Its first processes, by what they run. */
  readonly pids: Record<string, number>;
  stop(): Promise<void>;
}

const someone = 'someone@example.com';

/** All of them, all of them running. */
export async function startServers(deployment: Deployment): Promise<Server[]> {
  return [await ours(deployment), await startBare(deployment), await startArticle(deployment), await startSplit(deployment)];
}

/** As the section "Remote artifacts store" of https://mlflow.org/docs/latest/self-hosting/architecture/tracking-server has it. */
async function startBare(deployment: Deployment): Promise<Server> {
  const database = 'bare';
  const port = await freePort();
  const mlflow = await startMlflow(deployment, database, port, [
    '--host', '0.0.0.0', '--port', String(port),
    '--backend-store-uri', await newDatabase(deployment, database, 'postgresql'),
    '--artifacts-destination', folderOf(deployment, database),
  ]);
  return { name: 'mlflow server', url: `http://127.0.0.1:${port}`, clients: { none: {} }, database, ...programs({ mlflow }) };
}

/**
 * The options of the article as far as they exist today. Other than there: PostgreSQL for MySQL, and `--artifacts-destination` for
 * `--default-artifact-root`, with which clients went to S3 past the server and past the sign-in; the provider is the one of this machine.
 */
async function startArticle(deployment: Deployment): Promise<Server> {
  const database = 'article';
  const [port, proxyPort] = [await freePort(), await freePort()];
  const mlflow = await startMlflow(deployment, database, port, [
    '--host=0.0.0.0', `--port=${port}`,
    `--artifacts-destination=${folderOf(deployment, database)}`,
    `--backend-store-uri=${await newDatabase(deployment, database, 'postgresql+psycopg2')}`,
    '--gunicorn-opts', '', // the default of its stack
  ]);
  const { issuer: { issuer }, clients: { proxy: { id, secret }, toolId } } = deployment;
  const { command: [program], env, user } = deployment.proxy;
  const proxy = new Daemon([
    program,
    '--http-address', `0.0.0.0:${proxyPort}`,
    '--upstream', `http://localhost:${port}`,
    '--email-domain', '*',
    '--provider', 'oidc', '--oidc-issuer-url', issuer,
    '--skip-jwt-bearer-tokens', 'true',
    '--extra-jwt-issuers', `${issuer}=${toolId}`,
  ], {
    env: { OAUTH2_PROXY_CLIENT_ID: id, OAUTH2_PROXY_CLIENT_SECRET: secret, OAUTH2_PROXY_COOKIE_SECRET: env.OAUTH2_PROXY_COOKIE_SECRET },
    user,
    log: join(deployment.logs, `${database}-oauth2-proxy.log`),
  });
  const url = `http://127.0.0.1:${proxyPort}`;
  await untilReady(proxy, 'oauth2-proxy', () => fetch(`${url}/ping`));
  return { name: 'the article', url, clients: await signedIn(deployment, url), database, ...programs({ mlflow, 'oauth2-proxy': proxy }) };
}

async function ours(deployment: Deployment): Promise<Server> {
  const { task, proxyUrl: url, database: { name: database } } = deployment;
  const pids = { 'mlflow': task.pid('mlflow'), 'oauth2-proxy': task.pid('oauth2-proxy') };
  return { name: 'this library', url, clients: await signedIn(deployment, url), database, pids, stop: () => deployment.stop() };
}

/** Stopped last to first. */
function programs(daemons: Record<string, Daemon>): Pick<Server, 'pids' | 'stop'> {
  return {
    pids: Object.fromEntries(Object.entries(daemons).map(([program, { pid }]) => [program, pid])),
    async stop() {
      for (const daemon of Object.values(daemons).reverse()) {
        await daemon.stop(30);
      }
    },
  };
}

/** What only the application under uvicorn serves, and the artifacts that it streams. */
const uvicornPaths = ['/v1/', '/gateway/', '/ajax-api/3.0/jobs/', '/api/3.0/mlflow/mcp-servers/', '/ajax-api/3.0/mlflow/mcp-servers/', '/api/2.0/mlflow-artifacts/artifacts/', '/ajax-api/2.0/mlflow-artifacts/artifacts/'];

/** The task as it would be with two servers in it: gunicorn, and uvicorn for what gunicorn lacks. */
async function startSplit(deployment: Deployment): Promise<Server> {
  const database = 'split';
  const { command, env: { MLFLOW_UVICORN_OPTS, ...env }, user } = deployment.container('mlflow');
  const [gunicornPort, uvicornPort, proxyPort] = [await freePort(), await freePort(), await freePort()];
  await deployment.database.create(database);
  const start = async (port: number, settings: Record<string, string>) => {
    const daemon = new Daemon(command, {
      env: {
        ...env,
        MLFLOW_BACKEND_STORE_URI: env.MLFLOW_BACKEND_STORE_URI.replace(`/${deployment.database.name}?`, `/${database}?`),
        MLFLOW_ARTIFACTS_DESTINATION: folderOf(deployment, database),
        MLFLOW_PORT: String(port),
        MLFLOW_SERVER_ALLOWED_HOSTS: `127.0.0.1:${port}`,
        ...settings,
      },
      user,
      log: join(deployment.logs, `${database}-mlflow-${port}.log`),
    });
    await untilReady(daemon, 'mlflow server', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok, 300);
    return daemon;
  };
  const gunicorn = await start(gunicornPort, { MLFLOW_GUNICORN_OPTS: '--threads 8 --timeout 900 --keep-alive 120' });
  const uvicorn = await start(uvicornPort, { MLFLOW_UVICORN_OPTS, MLFLOW_WORKERS: '1' });
  const proxy = new Daemon(deployment.proxy.command, {
    env: {
      ...deployment.proxy.env,
      OAUTH2_PROXY_HTTP_ADDRESS: `127.0.0.1:${proxyPort}`,
      OAUTH2_PROXY_UPSTREAMS: [
        `http://127.0.0.1:${gunicornPort}/`, ...uvicornPaths.map(path => `http://127.0.0.1:${uvicornPort}${path}`),
        ...deployment.proxy.env.OAUTH2_PROXY_UPSTREAMS.split(',').slice(1),
      ].join(','),
    },
    user: deployment.proxy.user,
    log: join(deployment.logs, `${database}-oauth2-proxy.log`),
  });
  const url = `http://127.0.0.1:${proxyPort}`;
  await untilReady(proxy, 'oauth2-proxy', () => fetch(`${url}/ping`));
  const { bearer: token } = await signedIn(deployment, url);
  return { name: 'split', url, clients: { bearer: token }, database, ...programs({ 'mlflow (gunicorn)': gunicorn, 'mlflow (uvicorn)': uvicorn, 'oauth2-proxy': proxy }) };
}

async function startMlflow(deployment: Deployment, name: string, port: number, options: string[]): Promise<Daemon> {
  const { env: { PATH, HOME, TMPDIR, AWS_DEFAULT_REGION, AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_ENDPOINT_URL_S3 }, user } = deployment.container('mlflow');
  const daemon = new Daemon(['mlflow', 'server', ...options], {
    env: { PATH, HOME, TMPDIR, AWS_DEFAULT_REGION, AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_ENDPOINT_URL_S3 },
    user,
    log: join(deployment.logs, `${name}-mlflow.log`),
  });
  await untilReady(daemon, 'mlflow server', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok, 300);
  return daemon;
}

/** Returns its URI. */
async function newDatabase(deployment: Deployment, name: string, scheme: string): Promise<string> {
  await deployment.database.create(name);
  const { PGPASSWORD, MLFLOW_BACKEND_STORE_URI } = deployment.container('mlflow').env;
  const { username, host } = new URL(MLFLOW_BACKEND_STORE_URI);
  return `${scheme}://${username}:${encodeURIComponent(PGPASSWORD)}@${host}/${name}`;
}

function folderOf(deployment: Deployment, name: string): string {
  return `${deployment.container('mlflow').env.MLFLOW_ARTIFACTS_DESTINATION}/${name}`;
}

async function signedIn(deployment: Deployment, url: string): Promise<Server['clients']> {
  const token = await personToken(deployment.issuer.issuer, deployment.clients, someone);
  return { cookie: { cookie: await sessionCookie(deployment, url) }, bearer: bearer(token) as Record<string, string> };
}

/** A person's session, got past the load balancer whose name the proxy is called by. */
async function sessionCookie({ url: publicUrl }: Deployment, proxyUrl: string): Promise<string> {
  const send = client(proxyUrl);
  const { host } = new URL(publicUrl);
  const begin = await send('/oauth2/start', { headers: { host } });
  const person = await Person.meet(someone);
  const { url } = await person.open(begin.headers.location!, `${publicUrl}/oauth2/callback`);
  await person.leave();
  const end = await send(url.slice(publicUrl.length), { headers: { host, cookie: cookiesOf(begin.headers['set-cookie']) } });
  return cookiesOf(end.headers['set-cookie']);
}

function cookiesOf(setCookies: string[] = []): string {
  return setCookies.map(cookie => cookie.split(';')[0]).filter(pair => /=./.test(pair)).join('; ');
}
