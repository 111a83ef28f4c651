/** Shared by the checks of levels: people of each level, a server, and the form of a refusal because of the level. */

import { createHash } from 'node:crypto';
import { withToken, type Answer, type Message, type Send } from '../../clients/http.mjs';
import type { Deployment } from '../../deployment.mjs';

export type Level = 'none' | 'reader' | 'editor' | 'admin';
/** In ascending order. */
export const levels: readonly Level[] = ['none', 'reader', 'editor', 'admin'];

/** A server, and a bearer token of a person of each level. */
export interface Levels {
  readonly deployment: Deployment;
  readonly send: Send;
  readonly tokens: Record<Level, string>;
}

export const addressOf = (level: Level) => `${level}@example.com`;

export function asked({ send, tokens }: Levels, level: Level, path: string, message?: Message): Promise<Answer> {
  return send(path, withToken(tokens[level], message));
}

/** Whether a request is refused because of the level, and not for another reason. */
export function lacksLevel(status: number, body: string): boolean {
  return status === 403 && /@example\.com (has no access here|is an? \w+ here, and .* needs)/s.test(body);
}

/** Digests of all tables of the database and of the bucket. */
export async function digests({ database, s3 }: Deployment): Promise<Record<string, string>> {
  const tables = await database.query<{ name: string }>('SELECT table_name AS name FROM information_schema.tables WHERE table_schema = $1', ['public']);
  const all: Record<string, string> = { bucket: createHash('md5').update(JSON.stringify(await s3.objects())).digest('hex') };
  for (const { name } of tables) {
    const [{ digest }] = await database.query<{ digest: string }>(`SELECT md5(string_agg(content::text, chr(10) ORDER BY content::text)) AS digest FROM "${name}" content`);
    all[name] = digest;
  }
  return all;
}
