/** Runs checks one after the other, a line each, and counts. */

export class Checks {
  passed = 0;
  failed = 0;

  constructor(private readonly show: (text: string) => void = console.log) {}

  /** A group of checks, for the reader. */
  heading(title: string): void {
    this.show(`\n${title}`);
  }

  /** Passes if `body` does not throw; what it returns is shown behind the title. */
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
