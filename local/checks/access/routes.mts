/** Every route of the installed MLflow: compared with docs/access-calls.md, and sent at every level. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { asked, digests, type Levels, levels, lacksLevel, type Level } from './levels.mjs';
import type { Seeds } from './seeds.mjs';
import { json, withLength, type Message } from '../../clients/http.mjs';
import type { Deployment } from '../../deployment.mjs';
import type { Checks } from '../checks.mjs';

export interface Route {
  readonly method: string;
  /** As written in docs/access-calls.md. */
  readonly route: string;
  /** With the names of its parameters. */
  readonly path: string;
  readonly levels: Level[];
}

const page = join(import.meta.dirname, '..', '..', '..', 'docs', 'access-calls.md');
/** The only read that writes: MLflow adds its default question. */
const seeding = { route: 'API/label-schemas/list', table: 'label_schemas' };
/** These are closed at every level. */
const assistant = 'API/assistant/';
/** Called by the container's health check, which has no name. */
const free = 'GET /health';

export async function checkRoutes(checks: Checks, at: Levels, seeds: Seeds): Promise<void> {
  const routes = await routesOf(at.deployment);
  const calls = routes.filter(({ method }) => method !== 'HEAD' && method !== 'OPTIONS');

  checks.heading('Every route of MLflow');
  await checks.check('is in docs/access-calls.md, with the level that the inner door requires', async () => {
    const rows = [...readFileSync(page, 'utf8').matchAll(/^\| (\w+) \| ([A-Z]+) \| `(.+)` \|$/gm)].map(([, level, method, route]) => `${level} ${method} ${route}`);
    const found = calls.map(({ method, route, levels: own }) => `${route.startsWith(assistant) ? 'closed' : own.join(' or ')} ${method} ${route}`)
      .filter(row => !row.endsWith(free));
    assert.deepEqual(rows.sort(), [...new Set(found)].sort());
    assert.equal(new Set(rows).size, rows.length);
    return `${calls.length} routes, ${rows.length} calls`;
  });
  await checks.check('requires the same level for HEAD and OPTIONS as for GET', async () => {
    const need = (wanted: string) => new Map(routes.filter(({ method }) => method === wanted).map(({ path, levels: own }) => [path, own.join()]));
    const [get, head] = [need('GET'), need('HEAD')];
    assert.deepEqual([...head].filter(([path, own]) => get.get(path) !== own), []);
  });
  const open = calls.filter(({ method, route }) => !route.startsWith(assistant) && `${method} ${route}` !== free);
  for (const [index, level] of levels.entries()) {
    await checks.check(`is open to ${level === 'none' ? 'a person without a level' : `a${/^[ae]/.test(level) ? 'n' : ''} ${level}`} only as far as the level allows`, async () => {
      await seeds.ids();
      const before = await digests(at.deployment);
      const wrong: string[] = [];
      let refused = 0;
      for (const { method, route, path, levels: [needed] } of open) {
        const ids = await seeds.ids();
        const { status, body } = await asked(at, level, fill(path, ids), message(method, ids));
        const refuses = lacksLevel(status, body);
        refused += refuses ? 1 : 0;
        if (refuses !== levels.indexOf(needed) > index) {
          wrong.push(`${method} ${route}: ${status} ${body.slice(0, 200)}`);
        }
        if (index >= levels.indexOf('editor') && method !== 'GET' && status < 300) {
          seeds.spoil();
        }
      }
      assert.deepEqual(wrong, []);
      if (level === 'none' || level === 'reader') {
        const after = await digests(at.deployment);
        const changed = Object.keys(after).filter(name => after[name] !== before[name]);
        assert.deepEqual(changed, level === 'reader' ? [seeding.table] : [], 'these tables have changed');
      }
      return `${refused} of ${open.length} refused${level === 'reader' ? `; database and bucket are unchanged, except ${seeding.table}, which GET ${seeding.route} changes` : ''}`;
    });
  }
}

/** The routes of the installed MLflow, including those of the AI gateway. */
export async function routesOf(deployment: Deployment): Promise<Route[]> {
  const printed = await deployment.besideMlflow(readFileSync(join(import.meta.dirname, 'routes.py'), 'utf8'), { MLFLOW_ENABLE_AI_GATEWAY: 'true' });
  return JSON.parse(printed.split('\n').at(-1)!) as Route[];
}

/** The path with ids of existing objects. */
function fill(path: string, ids: Record<string, unknown>): string {
  const query = new URLSearchParams(Object.entries(ids).filter(([, value]) => typeof value === 'string') as [string, string][]);
  return `${path.replaceAll(/{(\w+)}/g, (_, name: string) => encodeURIComponent(String(ids[name] ?? '1')).replaceAll('%2F', '/'))}?${query}`;
}

function message(method: string, ids: Record<string, unknown>): Message {
  return method === 'GET' ? {} : withLength({ ...json(ids), method });
}
