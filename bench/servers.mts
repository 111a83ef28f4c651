/** The compared servers: all use the same MLflow, oauth2-proxy, PostgreSQL and S3, but each has its own data. */

import { join } from 'node:path';
import type { Options } from './table.mjs';
import { bearer, client } from '../local/clients/http.mjs';
import { Person } from '../local/clients/person.mjs';
import { personToken } from '../local/clients/tokens.mjs';
import type { Deployment } from '../local/deployment.mjs';
import { Daemon, freePort, untilReady } from '../local/processes.mjs';

export type SignIn = 'none' | 'cookie' | 'bearer';

export interface Server {
  readonly name: string;
  /** The reason, if it is faster. */
  readonly why?: string;
  readonly url: string;
  /** The headers of a client, by the way it authenticates. */
  readonly clients: Partial<Record<SignIn, Record<string, string>>>;
  /** The deployment with its database and bucket. */
  readonly deployment: Deployment;
  readonly database: string;
  /** Its first processes, by program. */
  readonly pids: Record<string, number>;
  stop(): Promise<void>;
}

const someone = 'someone@example.com';

/** The name of the server of this library. */
export const subject = 'this library';

/** The reason why another server is faster by more than a twentieth, if one is. Keys are the names of servers, with the way of signing in. The first figure of a cell counts. */
export function why(servers: Server[], speeds: Record<string, string | number>): string {
  const speedOf = (name: string) => Math.max(0, ...Object.entries(speeds)
    .filter(([column]) => column === name || column.startsWith(`${name}, `)).map(([, speed]) => Number(String(speed).split(' · ')[0]) || 0)); // texts do not count
  const fastest = servers.reduce((one, other) => speedOf(other.name) > speedOf(one.name) ? other : one);
  return speedOf(fastest.name) > 1.05 * speedOf(subject) ? `${fastest.name} ${fastest.why}` : '';
}

/** The server in the section "Remote artifacts store" of https://mlflow.org/docs/latest/self-hosting/architecture/tracking-server. */
export async function startBare(deployment: Deployment, options: Options): Promise<Server> {
  const database = 'bare';
  const port = await freePort();
  const mlflow = await startMlflow(deployment, database, port, [
    '--host', '0.0.0.0', '--port', String(port),
    '--backend-store-uri', await newDatabase(deployment, database, 'postgresql'),
    '--artifacts-destination', folderOf(deployment, database),
  ], options);
  return {
    name: 'mlflow server', why: 'has no sign-in', url: `http://127.0.0.1:${port}`, clients: { none: {} }, deployment, database, ...programs({ mlflow }),
  };
}

/**
 * The options of the article that still exist. Differences: PostgreSQL in place of MySQL; `--artifacts-destination` in place of
 * `--default-artifact-root`, with which clients use S3 without the server and the sign-in; and the sign-in provider of this machine.
 */
export async function startArticle(deployment: Deployment, options: Options): Promise<Server> {
  const database = 'article';
  const [port, proxyPort] = [await freePort(), await freePort()];
  const mlflow = await startMlflow(deployment, database, port, [
    '--host=0.0.0.0', `--port=${port}`,
    `--artifacts-destination=${folderOf(deployment, database)}`,
    `--backend-store-uri=${await newDatabase(deployment, database, 'postgresql+psycopg2')}`,
    '--gunicorn-opts', '', // the default of its stack
  ], options);
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
  return {
    name: 'the article',
    why: 'has four processes',
    url,
    clients: await signedIn(deployment, url),
    deployment,
    database,
    ...programs({ mlflow, 'oauth2-proxy': proxy }),
  };
}

/** A task of the service, without the load balancer. */
export async function ours(deployment: Deployment): Promise<Server> {
  const { task, proxyUrl: url } = deployment;
  const running = deployment.containers.map(({ definition: { Name } }) => Name).filter(container => container !== 'prepare');
  return {
    name: subject,
    url,
    clients: await signedIn(deployment, url),
    deployment,
    database: deployment.database.name,
    pids: Object.fromEntries(running.map(container => [container, task.pid(container)])),
    stop: () => deployment.stop(),
  };
}

async function startMlflow(deployment: Deployment, name: string, port: number, args: string[], { quick }: Options): Promise<Daemon> {
  const { env: { PATH, HOME, TMPDIR, AWS_DEFAULT_REGION, AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_ENDPOINT_URL_S3 }, user } = deployment.container('mlflow');
  const daemon = new Daemon(['mlflow', 'server', ...args], {
    env: {
      PATH,
      HOME,
      TMPDIR,
      AWS_DEFAULT_REGION,
      AWS_CONTAINER_CREDENTIALS_FULL_URI,
      AWS_ENDPOINT_URL_S3,
      ...quick && { MLFLOW_WORKERS: '1', MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false' }, // fifteen processes need a long time to start
    },
    user,
    log: join(deployment.logs, `${name}-mlflow.log`),
  });
  await untilReady(daemon, 'mlflow server', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok, 300);
  return daemon;
}

/** Creates a database and returns its URI. */
async function newDatabase(deployment: Deployment, name: string, scheme: string): Promise<string> {
  await deployment.database.create(name);
  const { PGPASSWORD, MLFLOW_BACKEND_STORE_URI } = deployment.container('mlflow').env;
  const { username, host } = new URL(MLFLOW_BACKEND_STORE_URI);
  return `${scheme}://${username}:${encodeURIComponent(PGPASSWORD)}@${host}/${name}`;
}

function folderOf(deployment: Deployment, name: string): string {
  return `${deployment.container('mlflow').env.MLFLOW_ARTIFACTS_DESTINATION}/${name}`;
}

/** `stop` stops the programs in reverse order. */
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

async function signedIn(deployment: Deployment, url: string): Promise<Server['clients']> {
  const token = await personToken(deployment.issuer.issuer, deployment.clients, someone);
  return { cookie: { cookie: await sessionCookie(deployment, url) }, bearer: bearer(token) as Record<string, string> };
}

/** Signs a person in at the proxy, without the load balancer but with its host name. Returns the session cookie. */
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
