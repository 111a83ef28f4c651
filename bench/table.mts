/** What every part of the measurement returns. */

export interface Table {
  /** The same in every run: it finds the table in the pages. */
  readonly title: string;
  readonly rows: Record<string, string | number>[];
  /** When and on what it was measured, where it was. */
  readonly of?: string;
}

export interface Options {
  /** Every measurement as short as it can be: shows that it works, its figures mean nothing. */
  readonly quick: boolean;
}

/** To three significant digits, which is more than is repeatable. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

export function median(values: number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];
}
