/** Clients that write batches continuously, and the check that no acknowledged write is lost. */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { bearer, json, withToken, type Send } from '../clients/http.mjs';

export class Load {
  /** Starts immediately. */
  static async begin(send: Send, token: string, { clients, pause = 20 }: { readonly clients: number; readonly pause?: number }): Promise<Load> {
    const ask = async (path: string, body: unknown) => {
      const answer = await send(path, withToken(token, json(body)));
      assert.equal(answer.status, 200, answer.body);
      return JSON.parse(answer.body) as { run: { info: { run_id: string } } };
    };
    const { run } = await ask('/api/2.0/mlflow/runs/create', { experiment_id: '0' });
    return new Load(send, token, run.info.run_id, clients, pause);
  }

  readonly acknowledged: number[] = [];
  private readonly answers = new Map<string, number>();
  private readonly workers: Promise<void>[];
  private next = 0;
  private over = false;

  private constructor(
    private readonly send: Send, private readonly token: string, private readonly runId: string, clients: number, private readonly pause: number,
  ) {
    this.workers = Array.from({ length: clients }, () => this.work());
  }

  /** Waits for the requests in flight. */
  async end(): Promise<void> {
    this.over = true;
    await Promise.all(this.workers);
  }

  /** The number of requests for each answer. */
  get summary(): string {
    return [...this.answers].sort().map(([answer, count]) => `${count} × ${answer}`).join(', ');
  }

  get refused(): number {
    return this.next - this.acknowledged.length;
  }

  /** Checks that every write that was answered with 200 is stored. */
  async assertNothingLost(): Promise<void> {
    const { body } = await this.send(`/api/2.0/mlflow/metrics/get-history?run_id=${this.runId}&metric_key=load`, { headers: bearer(this.token) });
    const stored = new Set((JSON.parse(body) as { metrics: { step: number }[] }).metrics.map(({ step }) => Number(step)));
    assert.deepEqual(this.acknowledged.filter(step => !stored.has(step)), [], 'acknowledged, but lost');
    assert(this.acknowledged.length > 0);
  }

  private async work(): Promise<void> {
    while (!this.over) {
      const step = this.next;
      this.next += 1;
      const message = json({ run_id: this.runId, metrics: [{ key: 'load', value: step, timestamp: Date.now(), step }] });
      const answer = await this.send('/api/2.0/mlflow/runs/log-batch', withToken(this.token, message))
        .then(({ status }) => String(status), (error: NodeJS.ErrnoException) => error.code ?? error.message);
      this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1);
      if (answer === '200') {
        this.acknowledged.push(step);
      }
      await sleep(this.pause);
    }
  }
}
