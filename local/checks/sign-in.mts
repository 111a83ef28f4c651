/** The tools for people: `mlflow-secure-tracking login`, its results, and attacks on it. */

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import type { Browser, Page } from 'playwright-core';
import { search, statusOfSearch } from './api.mjs';
import { inBrowser } from './browser.mjs';
import type { Checks } from './checks.mjs';
import { runLongJob, runOutside } from './programs.mjs';
import { toolsPath } from './server.mjs';
import { reachingOnly, transfer } from './transfer.mjs';
import { createCertificate, type Certificate } from '../aws/certificates.mjs';
import { lifetime } from '../aws/issuer.mjs';
import { PlayedServer } from '../aws/played-server.mjs';
import { bearer, json, withToken, type Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';
import type { Site } from '../worlds/world.mjs';

export interface SignInOptions {
  readonly deployment: Deployment;
  readonly send: Send;
  readonly python: string;
  /** The folders of the package for clients, for PYTHONPATH. */
  readonly packages: string;
  /** `mlflow-secure-tracking`. */
  readonly program: string;
}

const ann = 'ann@example.com';
const bob = 'bob@example.com';
/** A list without the certification authority of this run. */
const systemTrust = '/etc/ssl/certs/ca-certificates.crt';
const tokenSeconds = 6;
const jobSeconds = 20;

export async function checkSignIn(checks: Checks, options: SignInOptions): Promise<void> {
  const { deployment } = options;
  deployment.issuer.groups.set(ann, ['data-science']);
  checks.heading('Without a session');
  await checkAnswer(checks, options);
  await inBrowser(async browser => {
    const annAtHome = new Account(options, 'ann', browser);
    const bobAtHome = new Account(options, 'bob', browser);
    checks.heading('A person signs in from a terminal');
    await checkLogin(checks, options, annAtHome);
    await checkDevice(checks, options, annAtHome, bobAtHome);
    await checkTokens(checks, options, annAtHome);
    await checkRenewal(checks, options, annAtHome);
    checks.heading('The doctor');
    await checkDoctor(checks, options, annAtHome, bobAtHome, browser);
    checks.heading('What must not work');
    await checkOthers(checks, options, annAtHome, browser);
    checks.heading('The end of a sign-in');
    await checkEndOfSignIn(checks, options, annAtHome, bobAtHome);
  }, deployment);
}

/** Checks the path that the load balancer answers itself. */
async function checkAnswer(checks: Checks, { deployment, send }: SignInOptions): Promise<void> {
  const { issuer, clients } = deployment;
  await checks.check('the load balancer answers with the settings for a sign-in, without secrets', async () => {
    const { status, headers, body } = await send(toolsPath);
    assert.deepEqual([status, headers['content-type']], [200, 'application/json']);
    const { scope, ...answer } = JSON.parse(body) as Record<string, string>;
    assert.deepEqual(answer, { issuer: issuer.issuer, client_id: clients.tools!.id });
    assert(scope.split(' ').includes('openid'), scope);
  });
  await checks.check('paths near that path are closed', async () => {
    const near = [
      `${toolsPath}/`, `${toolsPath}x`, `${toolsPath}/..${search}`, `${toolsPath}%2f..${search}`, `/${toolsPath}`, toolsPath.toUpperCase(),
      '/.well-known/', '/.well-known/openid-configuration',
    ];
    const answers = await Promise.all(near.map(path => send(path)));
    assert.deepEqual(near.filter((_, index) => ![301, 401, 403].includes(answers[index].status)), []); // 301: to the same path, normalised
  });
}

async function checkLogin(checks: Checks, { send }: SignInOptions, account: Account): Promise<void> {
  await checks.check('with a browser on the same machine; the server returns who is signed in', async () => {
    const printed = await account.login(ann);
    assert(printed.includes(ann), printed);
    assert.equal(await nameOf(send, await account.token()), ann);
  });
  await checks.check('without a key ring, the sign-in is in a file that only its owner can read', async () => {
    const files = account.files();
    assert(files.length > 0, 'there is no file');
    assert.deepEqual(files.map(file => [file, (statSync(file).mode % 0o1000).toString(8)]), files.map(file => [file, '600']));
    assert(files.some(file => readFileSync(file, 'utf8').includes('refresh_token')), 'no file contains the sign-in');
  });
}

async function checkDevice(checks: Checks, { send }: SignInOptions, one: Account, other: Account): Promise<void> {
  await checks.check('with a browser on another device; two people on one machine have separate sign-ins', async () => {
    await other.login(bob, '--device');
    assert.deepEqual(await Promise.all([one, other].map(async account => nameOf(send, await account.token()))), [ann, bob]);
  });
  await checks.check('with the level of the groups, as in the browser', async () => {
    const create = (token: string) => send('/api/2.0/mlflow/experiments/create', withToken(token, json({ name: 'made with a tool' })));
    assert.deepEqual(await Promise.all([one, other].map(async account => (await create(await account.token())).status)), [200, 403]);
  });
}

async function checkTokens(checks: Checks, { send, deployment }: SignInOptions, account: Account): Promise<void> {
  const { issuer, clients } = deployment;
  await checks.check('the ID token of a tool is only for this server: another deployment with the same sign-in provider rejects it', async () => {
    const token = await account.token();
    const statuses = await Promise.all([clients.tools!.id, 'the-tools-of-another'].map(id => deployment.withProxy(
      { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: id }, toOther => statusOfSearch(toOther, bearer(token)),
    )));
    assert.deepEqual(statuses, [200, 403]);
  });
  await checks.check('an ID token of the same sign-in provider for another client is rejected', async () => {
    const claims = { iss: issuer.issuer, sub: ann, email: ann, email_verified: true, ...lifetime(60) };
    const tokens = await Promise.all([clients.tools!.id, 'another-client'].map(aud => issuer.key.sign({ ...claims, aud })));
    const statuses = await Promise.all(tokens.map(token => statusOfSearch(send, bearer(token))));
    assert.deepEqual(statuses, [200, 403]);
  });
}

async function checkRenewal(checks: Checks, { deployment, python }: SignInOptions, account: Account): Promise<void> {
  await checks.check(`a job of ${jobSeconds} s renews ID tokens that expire after ${tokenSeconds} s`, async () => {
    const { issuer } = deployment;
    const before = issuer.idTokenSeconds;
    issuer.idTokenSeconds = tokenSeconds;
    try {
      await account.login(ann, '--replace');
      return await runLongJob(deployment, python, jobSeconds, { ...account.env, MLFLOW_TRACKING_AUTH: 'sign-in' });
    } finally {
      issuer.idTokenSeconds = before;
    }
  });
}

/** Each fault that can be simulated here, with the text that reports it. */
async function checkDoctor(checks: Checks, options: SignInOptions, editor: Account, reader: Account, browser: Browser): Promise<void> {
  const { deployment } = options;
  const { url } = deployment;
  const signedIn = { MLFLOW_TRACKING_AUTH: 'sign-in' };
  await checks.check('reports no fault if there is none, and writes a run, a file and a trace', async () => {
    const { failed, output } = await editor.run('doctor', '--write', signedIn);
    assert(!failed, output);
    assert.match(output, /✓ access: signed in as ann@example\.com\n✓ level: editor\n[^]*\n0 failed$/);
    return `${output.match(/^✓/gm)!.length} steps`;
  });
  const expired = await deployment.issuer.key.sign({ iss: deployment.issuer.issuer, aud: 'x', sub: ann, email: ann, iat: 1, exp: 2 });
  const foreign = await deployment.issuer.key.sign({ iss: deployment.issuer.issuer, aud: 'another-client', sub: ann, email: ann, ...lifetime(60) });
  const stranger = new Account(options, 'nobody', browser);
  const host = new URL(url).hostname;
  const faults: [title: string, Account, changes: Record<string, string>, words: RegExp, ...options: string[]][] = [
    ['there is no sign-in', stranger, signedIn, /✗ token: sign-in: there is no sign-in to \S+ on this machine\./],
    ['there is no token', editor, {}, /✗ token: there is none\n {4}mlflow-secure-tracking login /],
    ['the token has expired', editor, { MLFLOW_TRACKING_TOKEN: expired }, /✗ token: the token of MLFLOW_TRACKING_TOKEN, for ann@example\.com, expired \d+ min ago\n/],
    ['the token is for another client', editor, { MLFLOW_TRACKING_TOKEN: foreign }, /✗ access: the server rejects the token \(HTTP 403\): its audience is wrong, .* audience another-client, /],
    ['the provider is unknown', editor, { MLFLOW_TRACKING_AUTH: 'browser' }, /✗ token: MLFLOW_TRACKING_AUTH=browser is not one of /],
    ['the certificate is signed by an unknown authority', editor, { ...signedIn, MLFLOW_TRACKING_SERVER_CERT_PATH: systemTrust, REQUESTS_CA_BUNDLE: systemTrust }, /✗ certificate: it is not signed by an authority in \S+ \(.*\)\. It is signed by CN=/],
    ['the file of certificates is missing', editor, { ...signedIn, MLFLOW_TRACKING_SERVER_CERT_PATH: '/none.pem' }, /✗ certificate: the file of certification authorities \/none\.pem does not exist\n/],
    ['the check of certificates is off', editor, { ...signedIn, MLFLOW_TRACKING_INSECURE_TLS: 'true' }, /✗ certificate: MLFLOW_TRACKING_INSECURE_TLS=true disables the check of the certificate/],
    ['the name does not exist', editor, { ...signedIn, MLFLOW_TRACKING_URI: 'https://mlflow.invalid' }, /✗ name: mlflow\.invalid has no address /],
    ['no server listens', editor, { ...signedIn, MLFLOW_TRACKING_URI: `https://${host}:9` }, /✗ connection: (port 9 refuses|no connection to port 9)/],
    ['there is no TLS', editor, { ...signedIn, MLFLOW_TRACKING_URI: url.replace('https:', 'http:') }, /✗ address: \S+ has no TLS, so the bearer token would be sent in plain text\n/],
    ['a reader wants to write', reader, signedIn, /✗ run: readers may not write\n/, '--write'],
    ['S3 cannot be reached', editor, { ...signedIn, ...reachingOnly(url, deployment.issuer.issuer) }, /✗ files from S3: this machine does not reach \S+ \(.*\), where clients read and write files\n/, '--write'],
  ];
  for (const [title, account, changes, words, ...more] of faults) {
    await checks.check(`reports that ${title}`, async () => {
      const started = Date.now();
      const { failed, output } = await account.run('doctor', ...more, changes);
      assert(failed, output);
      assert.match(output, words);
      assert.match(output, /\n1 failed: /);
      assert(Date.now() - started < 30_000, 'it takes too long');
    });
  }
  await checks.check('reports that no task is running', async () => {
    const { failed, output } = await deployment.withoutTargets(() => editor.run('doctor', signedIn));
    assert(failed, output);
    assert.match(output, /✗ server: GET \/ping: HTTP 503\n {4}No task of the server is running/);
  });
  await checks.check('a program that cannot reach S3 gets an error within seconds, with the setting that helps', async () => {
    const job = (changes: Record<string, string>) => transfer({ ...options, token: '' }, { ...editor.env, ...signedIn, ...reachingOnly(url, deployment.issuer.issuer), ...changes });
    const { attempts, stderr } = await job({});
    const failed = attempts.filter(({ error }) => error !== null);
    assert.deepEqual(failed.map(({ step }) => step), ['upload parts.bin', 'download notes.txt', 'download parts.bin']);
    const told = /this machine does not reach \S+, where clients read and write files \(.*\)\. Set MLFLOW_ENABLE_PROXY_MULTIPART_(UPLOAD|DOWNLOAD)=false /;
    const sentences = new RegExp(told, 'g');
    assert.deepEqual([...new Set([...stderr.matchAll(sentences)].map(([, way]) => way))], ['UPLOAD', 'DOWNLOAD']);
    const { attempts: helped } = await job({ MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD: 'false', MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD: 'false' });
    assert.deepEqual(helped.map(({ error }) => error), [null, null, null, null]);
    return failed.map(({ step, seconds }) => `${step}: ${seconds} s`).join(', ');
  });
}

async function checkOthers(checks: Checks, options: SignInOptions, account: Account, browser: Browser): Promise<void> {
  const { deployment } = options;
  const { issuer, clients } = deployment;
  const site = await deployment.site('malicious server', 'https://evil.example');
  const answer = { issuer: issuer.issuer, client_id: clients.tools!.id, scope: 'openid email' };
  const evil = new MaliciousServer(site, answer, await createCertificate(['evil.example', site.listen.host, 'localhost']));
  await evil.start();
  await checks.check('a malicious server that names the client of this server gets no token, because the provider has no redirect with its host', async () => {
    const stranger = new Account(options, 'stranger', browser, site.here);
    const login = stranger.begin('login', site.here);
    const page = await stranger.open(await login.link);
    await page.getByText('invalid_redirect_uri').waitFor();
    login.stop();
    assert.deepEqual(stranger.files(), []);
  });
  await checks.check('a malicious server gets no token with the device flow from a person who has signed in to this server', async () => {
    const { failed, output } = await account.run('login', site.here, '--device');
    assert(failed && output.includes(new URL(deployment.url).host), output);
  });
  await checks.check('(a person who has not signed in to this server would give it a token with the device flow: people must check the URL)', async () => {
    const stranger = new Account(options, 'stranger', browser, site.here);
    await stranger.login(bob, '--device');
    assert.equal(await statusOfSearch(options.send, bearer(await stranger.token())), 200);
  });
  await checks.check('a proxy that opens TLS gets no token, because its certificate is not trusted', async () => {
    const trusted = { MLFLOW_TRACKING_SERVER_CERT_PATH: systemTrust, REQUESTS_CA_BUNDLE: systemTrust, MLFLOW_TRACKING_INSECURE_TLS: 'true' };
    const { failed, output } = await account.run('login', deployment.url, trusted);
    assert(failed && /certificate/i.test(output), output);
  });
  evil.stop();
}

async function checkEndOfSignIn(checks: Checks, { deployment, python }: SignInOptions, one: Account, other: Account): Promise<void> {
  const { issuer } = deployment;
  await checks.check('a person whom the sign-in provider has blocked gets no new ID token, and must sign in', async () => {
    issuer.idTokenSeconds = tokenSeconds;
    await other.login(bob, '--replace');
    issuer.blocked.add(bob);
    await sleep(tokenSeconds * 1000);
    const { failed, output } = await other.run('token');
    assert(failed && output.includes(`mlflow-secure-tracking login ${deployment.url}`), output);
  });
  await checks.check('signing out ends the sign-in at the provider and on the machine', async () => {
    const [, refreshToken] = /"refresh_token": "([^"]+)"/.exec(readFileSync(one.files()[0], 'utf8'))!;
    const renew = () => fetch(`${issuer.issuer}/token`, {
      method: 'POST', body: new URLSearchParams({ grant_type: 'refresh_token', client_id: deployment.clients.tools!.id, refresh_token: refreshToken }),
    });
    const { failed, output } = await one.run('logout');
    assert(!failed && output.includes('revoked'), output);
    assert.match(await (await renew()).text(), /invalid_grant/);
    assert.equal(readFileSync(one.files()[0], 'utf8'), '{}');
    const { failed: refused, output: reason } = await one.run('token');
    assert(refused && reason.includes('mlflow-secure-tracking login'), reason);
    await assert.rejects(runLongJob(deployment, python, 1, { ...one.env, MLFLOW_TRACKING_AUTH: 'sign-in' }), /mlflow-secure-tracking login/);
  });
}

/** A server that sends the same answer as another tracking server. */
class MaliciousServer extends PlayedServer {
  constructor(site: Site, private readonly answers: Record<string, string>, certificate: Certificate) {
    super([site], certificate);
  }

  protected async answer(_: IncomingMessage, response: ServerResponse): Promise<void> {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(this.answers));
  }
}

/** The account of a person on a machine without a key ring. */
class Account {
  private readonly home: string;

  constructor(
    private readonly options: SignInOptions, name: string, private readonly browser: Browser, private readonly url = options.deployment.url,
  ) {
    this.home = join(options.deployment.logs, '..', 'homes', name);
    rmSync(this.home, { recursive: true, force: true });
    mkdirSync(this.home, { recursive: true });
  }

  get env(): Record<string, string> {
    const { deployment: { caFile }, packages } = this.options;
    return {
      HOME: this.home,
      PATH: process.env.PATH!,
      PYTHONPATH: packages,
      MLFLOW_TRACKING_URI: this.url,
      MLFLOW_TRACKING_SERVER_CERT_PATH: caFile,
      REQUESTS_CA_BUNDLE: caFile,
    };
  }

  /** The files with its sign-ins. */
  files(): string[] {
    const all = readdirSync(this.home, { recursive: true, encoding: 'utf8' }).map(name => join(this.home, name));
    return all.filter(file => file.endsWith('sign-ins.json'));
  }

  /** Runs a command to its end. */
  async run(...words: (string | Record<string, string>)[]): Promise<Ended> {
    return this.begin(...words).ended;
  }

  /** Starts a command, with changed settings if the last word is an object. `link` resolves as soon as the link is printed. */
  begin(...words: (string | Record<string, string>)[]): { readonly link: Promise<string>; readonly ended: Promise<Ended>; stop(): void } {
    const args = words.filter(word => typeof word === 'string');
    const changes = words.filter(word => typeof word !== 'string');
    const [program, ...rest] = this.options.deployment.outside([this.options.program, ...args]);
    const env = Object.assign({}, this.env, ...changes) as Record<string, string>;
    const running = execa(program, rest, { env, extendEnv: false, all: true, reject: false, timeout: 60_000, stdin: 'ignore' });
    let printed = '';
    const link = new Promise<string>((resolve, reject) => {
      running.all.on('data', (chunk: Buffer) => {
        printed += chunk.toString();
        const [, found] = /(https?:\/\/\S+(?:code_challenge|user_code)\S+)\s/.exec(printed) ?? [];
        if (found !== undefined) {
          resolve(found);
        }
      });
      running.then(({ all }) => reject(new Error(`there is no link:\n${all}`)), reject);
    });
    link.catch(() => undefined); // if no caller waits for it
    return { link, ended: running.then(({ failed, all }) => ({ failed, output: String(all) })), stop: () => { running.kill(); } };
  }

  async open(link: string): Promise<Page> {
    const context = await this.browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    await page.goto(link);
    return page;
  }

  /** Returns the output. */
  async login(email: string, ...options: string[]): Promise<string> {
    const login = this.begin('login', this.url, ...options);
    const page = await this.open(await login.link);
    await approve(page, email, login.ended);
    await page.context().close();
    const { failed, output } = await login.ended;
    assert(!failed, output);
    return output;
  }

  async token(): Promise<string> {
    const { stdout } = await runOutside(this.options.deployment, [this.options.program, 'token'], { env: this.env, extendEnv: false });
    assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+$/);
    return stdout;
  }
}

interface Ended {
  readonly failed: boolean;
  readonly output: string;
}

/** Signs in, and confirms the code of a device, until the tool has its ID token. */
async function approve(page: Page, email: string, ended: Promise<Ended>): Promise<void> {
  const address = page.getByPlaceholder('you@example.com');
  const confirm = page.getByRole('button', { name: 'Continue' });
  let over = false;
  void ended.then(() => { over = true; });
  while (!over) {
    if (await address.isVisible()) {
      await address.fill(email);
      await page.getByRole('button', { name: 'Sign in' }).click();
    } else if (await confirm.isVisible()) {
      await confirm.click();
    }
    await sleep(200);
  }
}

async function nameOf(send: Send, token: string): Promise<string> {
  const { status, body } = await send('/oauth2/userinfo', { headers: bearer(token) });
  assert.equal(status, 200, body);
  return (JSON.parse(body) as { email: string }).email;
}
