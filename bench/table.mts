/** What every part of the measurement returns. */

export interface Table {
  readonly title: string;
  readonly rows: Record<string, string | number>[];
}

export interface Options {
  /** Every measurement as short as it can be: shows that it works, its figures mean nothing. */
  readonly quick: boolean;
}
