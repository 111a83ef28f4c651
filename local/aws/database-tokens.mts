/**
 * A stand-in for IAM authentication of RDS. PostgreSQL cannot check a token, so each token that the task writes is checked here as RDS does, and
 * becomes the password of its user. Unlike on RDS, the token before it is invalid from then on.
 */

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from './database.mjs';
import type { DatabaseTokenAnswer, S3 } from './s3.mjs';

export class DatabaseTokens {
  accepted = 0;
  /** Why tokens were refused. */
  readonly refusals: string[] = [];
  /** The last one that was accepted. */
  token = '';
  private stopped = false;

  constructor(private readonly database: Database, private readonly s3: S3, private readonly endpoint: string, private readonly cluster: string) {}

  /** Follows the password file of a task. */
  async follow(file: string): Promise<void> {
    for (let line = ''; !this.stopped; await sleep(50)) {
      const found = contentOf(file);
      if (found === line) {
        continue;
      }
      line = found;
      const token = line.trimEnd().replace(/^(\*:){4}/, '').replace(/\\(.)/g, '$1');
      const { user, refusal } = await this.check(token);
      if (user === undefined) {
        this.refusals.push(refusal!);
        continue;
      }
      await this.database.setPassword(user, token);
      this.token = token;
      this.accepted += 1;
    }
  }

  /** The user of the token, or why it is refused. */
  async check(token: string): Promise<DatabaseTokenAnswer> {
    return this.s3.checkDatabaseToken({ token, endpoint: this.endpoint, cluster: this.cluster });
  }

  stop(): void {
    this.stopped = true;
  }
}

function contentOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // not written yet
  }
}
