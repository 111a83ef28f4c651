/** The result of each measurement. */

export interface Table {
  /** Equal in every run, because it identifies the table in the pages. */
  readonly title: string;
  readonly rows: Record<string, string | number>[];
  /** Date, machine and versions, for measured tables. */
  readonly of?: string;
}

export interface Options {
  /** Runs each measurement as briefly as possible, to test that it works. The figures mean nothing. */
  readonly quick: boolean;
}

/** Rounds to three significant digits, which is more than is repeatable. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

export function median(values: number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];
}
