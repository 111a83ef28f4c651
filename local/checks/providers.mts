/** Whether the real oauth2-proxy takes the settings of every sign-in provider. Nothing is sent to any of them. */

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import type { Checks } from '../checks.mjs';
import type { ContainerDefinition } from '../ecs.mjs';
import { plainEnvironment } from '../substitutions.mjs';
import { Template } from '../template.mjs';

type Settings = Record<string, string>;

interface ProvidersOptions {
  /** What local/providers-app.ts synthesises. */
  readonly assembly: string;
  /** The program oauth2-proxy. */
  readonly proxy: string;
}

const prefix = 'OAUTH2_PROXY_';
const suffix = '.template.json';

export async function checkProviders(checks: Checks, { assembly, proxy }: ProvidersOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'providers-'));
  const inFile = (settings: Settings) => configTest(proxy, {}, asFile(folder, settings));
  const inEnvironment = (settings: Settings) => configTest(proxy, settings);
  const stacks = readdirSync(assembly).filter(file => file.endsWith(suffix)).map(file => basename(file, suffix));
  const settings = new Map<string, Settings>();

  checks.heading('oauth2-proxy knows every setting of, and finds no contradiction in');
  for (const stack of stacks) {
    await checks.check(stack, async () => {
      const own = settingsOf(Template.read(assembly, stack));
      settings.set(stack, own);
      assert.equal(await inFile(own), 'configuration is valid');
      assert.equal(await inEnvironment(own), 'configuration is valid');
      return `${own.OAUTH2_PROXY_PROVIDER}, ${Object.keys(own).length} settings`;
    });
  }

  checks.heading('These checks would notice');
  const good = settings.get('oidc') ?? {};
  await checks.check('a misspelt name, which the proxy ignores where it starts', async () => {
    const misspelt = { ...good, OAUTH2_PROXY_ALLOWED_GROUP: 'ml-team' };
    assert.match(await inFile(misspelt), /invalid keys: allowed_group\b/);
    assert.equal(await inEnvironment(misspelt), 'configuration is valid');
  });
  await checks.check('a value of the wrong kind', async () => {
    assert.match(await inEnvironment({ ...good, OAUTH2_PROXY_COOKIE_EXPIRE: 'a while' }), /invalid duration/);
  });
  await checks.check('settings that contradict each other', async () => {
    const { OAUTH2_PROXY_COOKIE_EXPIRE } = good;
    assert.match(await inEnvironment({ ...good, OAUTH2_PROXY_COOKIE_REFRESH: OAUTH2_PROXY_COOKIE_EXPIRE }), /cookie_refresh .* must be less than cookie_expire/);
  });
  await checks.check('a secret that is missing', async () => {
    const { OAUTH2_PROXY_CLIENT_SECRET: _, ...without } = good;
    assert.match(await inEnvironment(without), /missing setting: client-secret/);
  });
  rmSync(folder, { recursive: true });
}

/** What ECS would give to the container, with made-up secrets. */
function settingsOf(template: Template): Settings {
  const { ContainerDefinitions: definitions } = template.single<{ ContainerDefinitions: ContainerDefinition[] }>('AWS::ECS::TaskDefinition');
  const definition = definitions.find(({ Name }) => Name === 'oauth2-proxy')!;
  const secrets = (definition.Secrets ?? []).map(({ Name }) => [Name, 'A1b2'.repeat(8)]);
  const settings: Settings = { ...plainEnvironment(definition), ...Object.fromEntries(secrets) };
  const others = Object.keys(settings).filter(name => !name.startsWith(prefix));
  assert.deepEqual(others, [], 'settings that are not for oauth2-proxy');
  return settings;
}

/** The same settings as a file: unlike with the environment, the proxy refuses a file with names that it does not know. */
function asFile(folder: string, settings: Settings): string {
  const file = join(folder, 'oauth2-proxy.cfg');
  writeFileSync(file, Object.entries(settings).map(([name, value]) => `${name.slice(prefix.length).toLowerCase()} = ${JSON.stringify(value)}\n`).join(''));
  return file;
}

/** What the proxy says of its settings, without starting. */
async function configTest(proxy: string, env: Settings, file?: string): Promise<string> {
  const { all } = await execa(proxy, ['--config-test', ...file === undefined ? [] : ['--config', file]], { env, extendEnv: false, all: true, reject: false });
  return all.trim();
}
