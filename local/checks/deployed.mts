/** `npm run try -- --check --url`, against the deployment on this machine. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { execa } from 'execa';
import { Checks } from './checks.mjs';
import { checkDeployed } from './server.mjs';
import { authority, createCertificate } from '../aws/certificates.mjs';
import { client } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';

/** Wrong settings, and the check that each must make fail. */
const faults: readonly [what: string, settings: Record<string, string | undefined>, fails: RegExp][] = [
  ['paths without sign-in', { OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*' }, /calls of programs are rejected with 401/],
  ['a cookie that goes over plain HTTP', { OAUTH2_PROXY_COOKIE_SECURE: 'false' }, /the cookie of a sign-in/],
  ['no PKCE', { OAUTH2_PROXY_CODE_CHALLENGE_METHOD: undefined }, /a page leads to the sign-in provider/],
  ['a sign-in that returns to another host', { OAUTH2_PROXY_REDIRECT_URL: 'https://evil.example/oauth2/callback' }, /a page leads to the sign-in provider/],
  ['bearer tokens that are ignored', { OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS: 'false' }, /the server returns who is signed in/],
];

interface Callers {
  /** A bearer token of an admin. */
  readonly admin: string;
  /** The id of a role. */
  readonly role: string;
}

/** Runs the command that users run after `cdk deploy`, against the deployment on this machine. */
export async function checkAgainstItself(checks: Checks, deployment: Deployment, { admin, role }: Callers): Promise<void> {
  const { url, caFile, account, template, verbatim } = deployment;
  const here = [...process.execArgv, process.argv[1], '--check', '--url', url];
  const run = async (args: string[], env: Record<string, string>) => {
    const settings = { MLFLOW_TRACKING_TOKEN: undefined, MLFLOW_TRACKING_AUTH: undefined, MLFLOW_TRACKING_SERVER_CERT_PATH: caFile, ...env };
    const { stdout, failed } = await execa(process.execPath, [...here, ...args], { reject: false, env: settings });
    assert(!failed, stdout);
    return stdout;
  };
  checks.heading('A server of which only the URL is known');
  await checks.check('is checked without a bearer token; the output lists what is skipped', async () => {
    const printed = await run([], {});
    assert.match(printed, /checks that need a bearer token: set MLFLOW_TRACKING_TOKEN/);
    assert.doesNotMatch(printed, /With the bearer token|training job.*can/);
    return counted(printed);
  });
  await checks.check('is checked with a bearer token, and with --write by a training job', async () => {
    const printed = await run(['--write'], { MLFLOW_TRACKING_TOKEN: admin });
    assert.match(printed, /✓ load it back and predict/);
    return counted(printed);
  });
  await checks.check('is checked, and written to, as an AWS role; the package for clients requests its AWS identity token', async () => {
    const printed = await run(['--write'], {
      MLFLOW_TRACKING_AUTH: 'aws-role',
      AWS_REGION: template.region,
      AWS_ACCESS_KEY_ID: role,
      AWS_SECRET_ACCESS_KEY: 'not checked here',
      ...!verbatim && { AWS_ENDPOINT_URL_STS: account!.issuer },
    });
    assert.match(printed, /With the bearer token[^]*✓ load it back and predict/);
    return counted(printed);
  });
  const ca = { file: caFile, certificates: readFileSync(caFile, 'utf8') };
  const found = (settings: Record<string, string | undefined>) => deployment.withProxy(settings, async send => {
    const lines: string[] = [];
    await checkDeployed(new Checks(line => { lines.push(line); }), { url, send, token: admin, ca });
    return lines.filter(line => line.includes('✗')).join('\n');
  });
  await checks.check('finds a server that is open to everyone', () => findsOpenServer(admin));
  const usual = await found({});
  for (const [what, settings, fails] of faults) {
    await checks.check(`finds ${what}`, async () => {
      assert.doesNotMatch(usual, fails);
      assert.match(await found(settings), fails);
    });
  }
}

/** The checks that pass with such a server, too. All others must fail. */
const holds = [
  'has a trusted certificate', '/ping answers 200', 'a sign-in returns to this host only, whatever headers are sent',
  'the server returns who is signed in', 'MLflow answers', 'the bearer token may be sent as a password',
];

/** A server that answers every request, with every version of TLS. Returns how many checks fail because of that. */
async function findsOpenServer(token: string): Promise<string> {
  const certificate = await createCertificate([]);
  const server = createServer({ ...certificate, minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }, (_, response) => response.end('{"email":"anybody"}'));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const lines: string[] = [];
  const ca = { file: '', certificates: authority.cert };
  try {
    await checkDeployed(new Checks(line => { lines.push(line); }), { url, token, ca, send: client(url, authority.cert) });
  } finally {
    server.close();
    server.closeAllConnections();
  }
  const passed = lines.flatMap(line => /✓ (.*?)(?: \(.*\))?$/.exec(line)?.[1] ?? []);
  assert.deepEqual(passed, holds);
  return `${lines.filter(line => line.includes('✗')).length} checks fail`;
}

function counted(printed: string): string {
  return printed.trimEnd().split('\n').at(-1)!;
}
