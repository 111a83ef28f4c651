/** The servers that are compared: the same MLflow, oauth2-proxy, PostgreSQL and S3 for all of them, but data of their own. */

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
  /** Why it is faster, where it is. */
  readonly why?: string;
  readonly url: string;
  /** The headers of a client, by how it shows who it is. */
  readonly clients: Partial<Record<SignIn, Record<string, string>>>;
  /** Where its database and its bucket are. */
  readonly deployment: Deployment;
  readonly database: string;
  /** Its first processes, by what they run. */
  readonly pids: Record<string, number>;
  stop(): Promise<void>;
}

const someone = 'someone@example.com';

/** The name of the server that all this is about. */
export const subject = 'this library';

/** Why another is faster than it by more than a twentieth, if one is. Figures by the names of the servers, and how clients sign in; the first of a cell counts. */
export function why(servers: Server[], speeds: Record<string, string | number>): string {
  const speedOf = (name: string) => Math.max(0, ...Object.entries(speeds)
    .filter(([column]) => column === name || column.startsWith(`${name}, `)).map(([, speed]) => Number(String(speed).split(' · ')[0]) || 0)); // words are no speed
  const fastest = servers.reduce((one, other) => speedOf(other.name) > speedOf(one.name) ? other : one);
  return speedOf(fastest.name) > 1.05 * speedOf(subject) ? `${fastest.name} ${fastest.why}` : '';
}

/** As the section "Remote artifacts store" of https://mlflow.org/docs/latest/self-hosting/architecture/tracking-server has it. */
export async function startBare(deployment: Deployment, options: Options): Promise<Server> {
  const database = 'bare';
  const port = await freePort();
  const mlflow = await startMlflow(deployment, database, port, [
    '--host', '0.0.0.0', '--port', String(port),
    '--backend-store-uri', await newDatabase(deployment, database, 'postgresql'),
    '--artifacts-destination', folderOf(deployment, database),
  ], options);
  return {
    name: 'mlflow server', why: 'asks nobody who they are', url: `http://127.0.0.1:${port}`, clients: { none: {} }, deployment, database, ...programs({ mlflow }),
  };
}

/**
 * The options of the article as far as they exist today. Other than there: PostgreSQL for MySQL, and `--artifacts-destination` for
 * `--default-artifact-root`, with which clients go to S3 past the server and past the sign-in; the provider is the one of this machine.
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

/** A task of the service, past the load balancer. */
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
      ...quick && { MLFLOW_WORKERS: '1', MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false' }, // fifteen processes take long to start
    },
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
