/** Defines which parts of two answers, or of two databases, must be the same. */

import type { Answer } from '../../clients/http.mjs';

/** Headers that depend on the connection or the time, or come from the layers that the short way skips. */
const otherHeaders = new Set([
  'date', 'connection', 'keep-alive',
  'expires', 'last-modified', 'etag', // of files: the compressed file differs, and both files are compared separately
  'vary', // MLflow sends it twice, once in each part
  'access-control-expose-headers', // FastAPI sends it with every answer, although other sites get none
  'x-mlflow-gateway-duration-ms', 'x-mlflow-gateway-overhead-duration-ms', 'allow', // a set
]);

/** Hides values that differ between two databases with the same history: random values and times. Ids of the check get names. */
export class Mask {
  private names = new Map<string, string>();

  /** `address` is host and port of the server. */
  constructor(private readonly address: string) {}

  call(ids: Record<string, unknown>): void {
    const made = Object.entries(ids).filter((entry): entry is [string, string] => typeof entry[1] === 'string' && entry[1].length > 8);
    this.names = new Map(made.map(([name, value]) => [value, `<${name}>`]));
  }

  hide(text: string): string {
    return [...this.names].sort(([one], [other]) => other.length - one.length).reduce((rest, [value, name]) => rest.replaceAll(value, name), text)
      .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<uuid>')
      .replaceAll(/\b[0-9a-f]{64}\b|\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b|\b[0-9a-f]{8}\b/g, '<id>')
      .replaceAll(/\\+x[0-9a-f]+/g, '<bytes>')
      .replaceAll(/X-Amz-[\w-]+=[^"&]*/g, '<signature>')
      .replaceAll(/\/(short|own)\b/g, '/<way>')
      .replaceAll(/\b1[78]\d{8,17}(\.\d+)?\b/g, '<time>')
      .replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:?(00)?)?/g, '<time>')
      .replaceAll(/\b[a-z]+-[a-z]+-\d{1,4}\b/g, '<run name>')
      .replaceAll(this.address, '<address>')
      .replaceAll(/127\.0\.0\.1:\d+/g, '<address>')
      .replaceAll(/0x[0-9a-f]{8,}/g, '<object>')
      .replaceAll(/"upload_id": ?"\w+"/g, '"upload_id":<id>');
  }
}

/** The text of an answer for the comparison. */
export function shown({ status, headers, body }: Answer, mask: Mask): string {
  const kept = Object.entries(headers).filter(([name]) => !otherHeaders.has(name)).map(([name, value]) => `${name}: ${name === 'content-length' ? 'known' : String(value)}`).sort();
  return mask.hide([String(status), ...kept, '', ordered(body)].join('\n'));
}

/** Lists that MLflow orders by names, which are random here. */
const byName = new Set(['registered_models', 'mcp_servers']);

function byKey({ key: one }: { key: string }, { key: other }: { key: string }): number {
  return one < other ? -1 : 1;
}

/** JSON with sorted names, because MLflow guarantees no order. */
function ordered(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body, (name, value: unknown) => {
      if (byName.has(name) && Array.isArray(value)) {
        return value.map(item => JSON.stringify(item)).sort();
      }
      const entries = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value).sort() : undefined;
      if (entries === undefined) {
        return value;
      }
      // Metrics, parameters and tags of a run come as PostgreSQL finds them. Where it writes a changed row depends on which transactions are open.
      return Object.fromEntries(name === 'data' ? entries.map(([key, list]) => [key, Array.isArray(list) ? [...list].sort(byKey) : list]) : entries);
    }));
  } catch {
    return body;
  }
}
