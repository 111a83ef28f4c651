/** Runs checks one after the other, prints a line for each, and counts them. */

export class Checks {
  passed = 0;
  failed = 0;

  constructor(private readonly show: (text: string) => void = console.log) {}

  /** Prints the title of a group of checks. */
  heading(title: string): void {
    this.show(`\n${title}`);
  }

  /** Passes if `body` does not throw. The text that it returns is shown after the title. */
  async check(title: string, body: () => Promise<string | void>): Promise<void> {
    try {
      const measured = await body();
      this.passed += 1;
      this.show(`  ✓ ${title}${measured ? ` (${measured})` : ''}`);
    } catch (error) {
      this.failed += 1;
      this.show(`  ✗ ${title}\n    ${(error as Error).message.trim().replaceAll('\n', '\n    ')}`);
    }
  }
}
