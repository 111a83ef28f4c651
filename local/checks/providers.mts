/** Checks that the real oauth2-proxy accepts the settings of every sign-in provider, and who is admitted with a stand-in for the provider. No real provider is contacted. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import type { JWTPayload } from 'jose';
import type { Checks } from './checks.mjs';
import type { ContainerDefinition } from '../aws/ecs.mjs';
import { plainEnvironment } from '../aws/substitutions.mjs';
import { Template } from '../aws/template.mjs';
import { SignIns, type Account, type Entrance } from '../providers/sign-ins.mjs';

type Settings = Record<string, string>;

interface ProvidersOptions {
  /** The cloud assembly of local/apps/providers-app.ts. */
  readonly assembly: string;
  /** The program oauth2-proxy. */
  readonly proxy: string;
}

const prefix = 'OAUTH2_PROXY_';
const suffix = '.template.json';

export async function checkProviders(checks: Checks, { assembly, proxy }: ProvidersOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'providers-'));
  checks.heading('oauth2-proxy accepts the settings of');
  const settings = await checkSettings(checks, assembly, proxy, folder);
  checks.heading('These checks would detect');
  await checkMistakes(checks, proxy, folder, settings.get('oidc') ?? {});

  const door = (stack: string): Door => ({ proxy, folder, settings: settings.get(stack)! });
  checks.heading('Who is admitted with the settings of');
  for (const stack of Object.keys(cases)) {
    await checks.check(stack, () => whoGetsIn(stack, cases[stack], door(stack)));
  }
  await checkGcloud(checks, door);

  checks.heading('`sessionRefresh` keeps a session after its tokens have expired, with the settings of');
  for (const [stack, refresh] of Object.entries(refreshed)) {
    await checks.check(stack, () => staysRefreshed(stack, refresh, door(stack)));
  }
  checks.heading('The tokens of the sign-in provider, each with all groups,');
  await checks.check('are not in the cookie of a session', () => keepsTokensOut(door('oidc')));
  await checks.check('are in the cookie if sessions are refreshed; otherwise the proxy would not start', async () => {
    const minimal = { ...settings.get('oidc-refreshed')!, OAUTH2_PROXY_SESSION_COOKIE_MINIMAL: 'true' };
    assert.match(await configTest(proxy, minimal), /cookie_refresh > 0 requires oauth tokens in sessions/);
  });

  checks.heading('The groups of a person reach MLflow for levels, with the settings of');
  for (const [stack, { account, groups }] of Object.entries(levelled)) {
    await checks.check(stack, async () => {
      const signIns = await doorOf(stack, door(stack));
      const { status, headers = {} } = await signIns.enter(account);
      await signIns.stop();
      assert.equal(status, 200);
      assert.deepEqual(String(headers['x-forwarded-groups']).split(',').sort(), groups);
      return groups.join(', ');
    });
  }

  checks.heading('Lists that are empty at deployment admit no account');
  for (const [stack, account] of Object.entries(comeToNothing)) {
    await checks.check(stack, () => letsNobodyIn(stack, account, door(stack)));
  }
  rmSync(folder, { recursive: true });
}

/** Returns the settings of every stack. */
async function checkSettings(checks: Checks, assembly: string, proxy: string, folder: string): Promise<Map<string, Settings>> {
  const settings = new Map<string, Settings>();
  const stacks = readdirSync(assembly).filter(file => file.endsWith(suffix)).map(file => basename(file, suffix));
  for (const stack of stacks) {
    await checks.check(stack, async () => {
      const own = settingsOf(Template.read(assembly, [stack]));
      settings.set(stack, own);
      assert.equal(await configTest(proxy, {}, asFile(folder, own)), 'configuration is valid');
      assert.equal(await configTest(proxy, own), 'configuration is valid');
      return `${own.OAUTH2_PROXY_PROVIDER}, ${Object.keys(own).length} settings`;
    });
  }
  return settings;
}

async function checkMistakes(checks: Checks, proxy: string, folder: string, good: Settings): Promise<void> {
  await checks.check('a misspelt name, which the proxy ignores when it starts', async () => {
    const misspelt = { ...good, OAUTH2_PROXY_ALLOWED_GROUP: 'ml-team' };
    assert.match(await configTest(proxy, {}, asFile(folder, misspelt)), /invalid keys: allowed_group\b/);
    assert.equal(await configTest(proxy, misspelt), 'configuration is valid');
  });
  await checks.check('a value of the wrong kind', async () => {
    assert.match(await configTest(proxy, { ...good, OAUTH2_PROXY_COOKIE_EXPIRE: 'a while' }), /invalid duration/);
  });
  await checks.check('settings that contradict each other', async () => {
    const { OAUTH2_PROXY_COOKIE_EXPIRE } = good;
    assert.match(await configTest(proxy, { ...good, OAUTH2_PROXY_COOKIE_REFRESH: OAUTH2_PROXY_COOKIE_EXPIRE }), /cookie_refresh .* must be less than cookie_expire/);
  });
  await checks.check('a secret that is missing', async () => {
    const { OAUTH2_PROXY_CLIENT_SECRET: _, ...without } = good;
    assert.match(await configTest(proxy, without), /missing setting: client-secret/);
  });
}

async function checkGcloud(checks: Checks, door: (stack: string) => Door): Promise<void> {
  await checks.check('google, with tokens of gcloud', async () => {
    const signIns = await doorOf('google-gcloud', trustingGcloud(door('google')));
    const status = async (claims: JWTPayload) => (await signIns.show({ aud: gcloud, ...ann, ...claims })).status;
    assert.equal(await status({ hd: 'example.com' }), 200);
    assert.equal(await status({}), 403);
    assert.equal(await status({ hd: 'evil.example' }), 403);
    await signIns.stop();
  });
  await checks.check('google-with-machines: the server gets the domain of an account, and the name of a machine', async () => {
    const signIns = await doorOf('google-with-machines', trustingGcloud(door('google-with-machines')));
    const told = ({ headers = {} }: Entrance) => [headers['x-forwarded-email'], headers['x-forwarded-groups']];
    assert.deepEqual(told(await signIns.enter({ claims: { ...ann, hd: 'example.com' } })), [ann.email, 'example.com']);
    assert.deepEqual(told(await signIns.show({ aud: gcloud, ...ann, hd: 'example.com' })), [ann.email, 'example.com']);
    assert.deepEqual(told(await signIns.enter({ claims: ann })), [ann.email, undefined]);
    assert.deepEqual(told(await signIns.show({ ...ann, email: machine })), [machine, undefined]);
    await signIns.stop();
  });
}

/** The unused name in an empty list rejects all accounts. Without that name, all would be admitted. */
async function letsNobodyIn(stack: string, account: Account, door: Door): Promise<string> {
  await whoGetsIn(stack, { out: { anybody: account } }, door);
  const emptied = Object.fromEntries(Object.entries(door.settings).map(([name, value]) => [name, value.replace(/,?nobody:nobody/, '')]));
  assert.notDeepEqual(emptied, door.settings);
  await whoGetsIn(stack, { in: { anybody: account } }, { ...door, settings: emptied });
  return 'all accounts would be admitted without the unused name';
}

async function staysRefreshed(stack: string, { refreshScope, account }: Refresh, door: Door): Promise<string | undefined> {
  const settings: Settings = { ...door.settings, OAUTH2_PROXY_COOKIE_REFRESH: '1s' };
  const stay = async (changes: Settings = {}) => {
    const signIns = await doorOf(stack, { ...door, settings: { ...settings, ...changes } }, refreshScope);
    try {
      return await signIns.stay(account);
    } finally {
      await signIns.stop();
    }
  };
  assert.deepEqual(await stay(), { status: 200, refreshed: 1 });
  const scopes = settings.OAUTH2_PROXY_SCOPE.split(' ');
  assert.equal(scopes.includes('offline_access'), refreshScope !== undefined, 'other providers refuse this scope');
  if (refreshScope === undefined) {
    return undefined;
  }
  assert.deepEqual(await stay({ OAUTH2_PROXY_SCOPE: scopes.filter(scope => scope !== refreshScope).join(' ') }), { status: 401, refreshed: 0 });
  return 'not without the scope offline_access';
}

async function keepsTokensOut(door: Door): Promise<string> {
  const sizes = async (changes: Settings) => {
    const signIns = await doorOf('oidc', { ...door, settings: { ...door.settings, ...changes } });
    const found: number[] = [];
    for (const count of [100, 150, 300]) {
      const groups = Array.from({ length: count }, () => randomUUID());
      const { status, headers = {}, cookie } = await signIns.enter({ claims: { ...ann, groups } });
      assert.deepEqual([status, String(headers['x-forwarded-groups']).split(',').length], [200, count]);
      found.push(cookie!.length);
    }
    await signIns.stop();
    return found;
  };
  const [without, withTokens] = [await sizes({}), await sizes({ OAUTH2_PROXY_SESSION_COOKIE_MINIMAL: 'false' })];
  assert(without.every((size, index) => size < withTokens[index] / 2), `${without} and ${withTokens}`);
  return `with 100, 150 and 300 groups ${without.join(', ')} bytes; with tokens ${withTokens.join(', ')}`;
}

interface Accounts {
  readonly in?: Record<string, Account>;
  readonly out?: Record<string, Account>;
}

const ann = { email: 'ann@example.com', email_verified: true };
/** The audience of `TokenIssuer.gcloud()`. It is in no stack, because the proxy would contact the issuer before it reads its settings. */
const gcloud = '32555940559.apps.googleusercontent.com';
const machine = 'ci@project.iam.gserviceaccount.com';

/** By the stacks of local/apps/providers-app.ts. */
const cases: Record<string, Accounts> = {
  'google': {
    in: { 'of the Workspace': { claims: { ...ann, hd: 'example.com' } }, 'of its other domain': { claims: { ...ann, hd: 'ml.example.com' } } },
    out: { 'a personal account': { claims: ann }, 'of another Workspace': { claims: { ...ann, hd: 'evil.example' } }, 'of the Workspace, in another domain': { claims: { ...ann, email: 'ann@evil.example', hd: 'example.com' } } },
  },
  'google-with-every-account': { in: { 'a personal account': { claims: ann } }, out: { 'in another domain': { claims: { ...ann, email: 'ann@evil.example' } } } },
  'oidc': { in: { 'verified': { claims: ann }, 'not marked': { claims: { email: ann.email } } }, out: { 'not verified': { claims: { ...ann, email_verified: false } } } },
  'oidc-with-a-claim': {
    in: { 'by the claim, verified or not': { claims: { email: 'mallory@evil.example', email_verified: false, preferred_username: 'ann@example.com' } } },
    out: { 'by the other': { claims: { ...ann, preferred_username: 'ann@evil.example' } } },
  },
  'oidc-with-everything': { in: { 'of a group': { claims: { mail: ann.email, roles: ['ml-team'] } } }, out: { 'of none': { claims: { mail: ann.email } }, 'of another': { claims: { mail: ann.email, roles: ['ml-team of others'] } } } },
  'cognito-with-groups': { in: { 'of a group': { claims: { ...ann, 'cognito:groups': ['ml-team'] } } }, out: { 'of none': { claims: ann }, 'in another claim': { claims: { ...ann, groups: ['ml-team'] } } } },
  'entra-id-with-groups': {
    in: { 'of a group': { claims: { preferred_username: ann.email, groups: ['66666666-7777-8888-9999-000000000000'], tid: 'x' } } },
    out: { 'of another': { claims: { preferred_username: ann.email, groups: ['ml-team'], tid: 'x' } } },
  },
  'keycloak-with-groups-and-roles': {
    in: { 'of a group': { claims: { ...ann, groups: ['/ml-team'] } }, 'with a role': { claims: ann, roles: ['ml-user'] } },
    out: { 'of neither': { claims: { ...ann, groups: ['ml-team'] }, roles: ['/ml-team'] } },
  },
  'github': { in: { verified: { claims: ann } }, out: { 'not verified': { claims: { ...ann, email_verified: false } } } },
  'github-with-teams': {
    in: { 'of a team': { claims: ann, organizations: ['example'], teams: ['other:x', 'example:research'] } },
    out: { 'of the organization alone': { claims: ann, organizations: ['example'] }, 'of a namesake elsewhere': { claims: ann, organizations: ['evil'], teams: ['evil:research'] } },
  },
  'gitlab-with-groups-and-projects': {
    in: { 'of a group': { claims: { ...ann, groups: ['ml/team'] } }, 'of a project': { claims: ann, projects: { 'ml/models': 30 } } },
    out: { 'of neither': { claims: { ...ann, groups: ['ml'] } }, 'below the level': { claims: ann, projects: { 'ml/models': 20 } }, 'not verified': { claims: { ...ann, email_verified: false, groups: ['ml/team'] } } },
  },
};

/** Stacks whose lists are empty at deployment, and an account without a group. */
const comeToNothing: Record<string, Account> = {
  'google-with-nothing': { claims: ann },
  'oidc-with-nothing': { claims: ann },
  'cognito-with-nothing': { claims: ann },
  'entra-id-with-nothing': { claims: { ...ann, tid: 'x' } },
  'keycloak-with-nothing': { claims: ann },
  'github-with-nothing': { claims: ann, organizations: ['example'], teams: ['example:research'] },
  'gitlab-with-no-groups': { claims: ann },
  'gitlab-with-no-projects': { claims: ann },
};

/** Stacks with `access`, and the names of the groups at the provider. */
const levelled: Record<string, { readonly account: Account; readonly groups: string[] }> = {
  'oidc-with-levels': { account: { claims: { ...ann, groups: ['ml-team', 'others'] } }, groups: ['ml-team', 'others'] },
  'cognito-with-levels': { account: { claims: { ...ann, 'cognito:groups': ['ml-team'] } }, groups: ['ml-team'] },
  'entra-id-with-levels': { account: { claims: { ...ann, groups: ['66666666-7777-8888-9999-000000000000'], tid: 'x' } }, groups: ['66666666-7777-8888-9999-000000000000'] },
  'keycloak-with-levels': { account: { claims: { ...ann, groups: ['/ml-team'] }, roles: ['ml-user'] }, groups: ['/ml-team', 'role:ml-user'] },
  'github-with-levels': { account: { claims: ann, organizations: ['example'], teams: ['example:research'] }, groups: ['example', 'example:research'] },
  'gitlab-with-levels': { account: { claims: { ...ann, groups: ['ml/team'] } }, groups: ['ml/team'] },
};

interface Refresh {
  /** The scope with which the provider gives a refresh token, if it needs one. */
  readonly refreshScope?: string;
  readonly account: Account;
}

/** Stacks with `sessionRefresh`. */
const refreshed: Record<string, Refresh> = {
  'oidc-refreshed': { refreshScope: 'offline_access', account: { claims: ann } },
  'entra-id-refreshed': { refreshScope: 'offline_access', account: { claims: { ...ann, tid: 'x' } } },
  'cognito-refreshed': { account: { claims: ann } },
  'keycloak-refreshed': { account: { claims: ann } },
  'gitlab-refreshed': { account: { claims: ann } },
};

interface Door {
  readonly proxy: string;
  readonly folder: string;
  readonly settings: Settings;
}

function trustingGcloud(door: Door): Door {
  return { ...door, settings: { ...door.settings, OAUTH2_PROXY_EXTRA_JWT_ISSUERS: `https://accounts.google.com=${gcloud}` } };
}

async function doorOf(stack: string, { proxy, folder, settings }: Door, refreshScope?: string): Promise<SignIns> {
  const machinesFile = join(folder, 'machines.csv');
  writeFileSync(machinesFile, `"${machine}"\n`);
  return SignIns.start({ proxy, settings, machinesFile, refreshScope, log: join(folder, `${stack}.log`) });
}

/** Tests each account in a browser, and with an ID token if the provider's ID tokens are accepted. */
async function whoGetsIn(stack: string, { in: entering = {}, out: refused = {} }: Accounts, door: Door): Promise<string> {
  const { settings } = door;
  const signIns = await doorOf(stack, door);
  const tokens = settings.OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS === 'true' && settings.OAUTH2_PROXY_OIDC_ISSUER_URL !== undefined;
  try {
    for (const [who, account] of Object.entries({ ...entering, ...refused })) {
      const enters = who in entering;
      const { status } = await signIns.enter(account);
      assert.equal(status === 200, enters, `${who}: ${status} in the browser`);
      if (tokens && account.roles === undefined) { // Keycloak's roles are in access tokens
        const { status: withToken } = await signIns.show(account.claims!);
        assert.equal(withToken === 200, enters, `${who}: ${withToken} with a token`);
      }
    }
  } finally {
    await signIns.stop();
  }
  return [Object.keys(entering), Object.keys(refused)].map((names, out) => names.length > 0 && `${out ? 'not ' : ''}${names.join(', ')}`).filter(Boolean).join('; ');
}

/** The environment of the container as ECS would set it, with random secrets. */
function settingsOf(template: Template): Settings {
  const { ContainerDefinitions: definitions } = template.single<{ ContainerDefinitions: ContainerDefinition[] }>('AWS::ECS::TaskDefinition');
  const definition = definitions.find(({ Name }) => Name === 'oauth2-proxy')!;
  const secrets = (definition.Secrets ?? []).map(({ Name }) => [Name, 'A1b2'.repeat(8)]);
  const { GOMAXPROCS: _, GOGC: __, ...plain } = plainEnvironment(definition); // Go's own
  const settings: Settings = { ...plain, ...Object.fromEntries(secrets) };
  const others = Object.keys(settings).filter(name => !name.startsWith(prefix));
  assert.deepEqual(others, [], 'settings of other programs');
  return settings;
}

/** Writes the settings to a file, because the proxy refuses unknown names in a file, but not in the environment. */
function asFile(folder: string, settings: Settings): string {
  const file = join(folder, 'oauth2-proxy.cfg');
  writeFileSync(file, Object.entries(settings).map(([name, value]) => `${name.slice(prefix.length).toLowerCase()} = ${JSON.stringify(value)}\n`).join(''));
  return file;
}

/** The proxy's check of its settings, without starting it. */
async function configTest(proxy: string, env: Settings, file?: string): Promise<string> {
  const { all } = await execa(proxy, ['--config-test', ...file === undefined ? [] : ['--config', file]], { env, extendEnv: false, all: true, reject: false });
  return all.trim();
}
