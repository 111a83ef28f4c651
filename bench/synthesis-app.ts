/**
 * Defines and synthesises an app repeatedly, with a number of instances in separate stacks, and prints the times.
 * bench/synthesis.mts copies it and local/apps/quick-start-variant.ts, both compiled, into a folder with the packages and runs it there.
 */

import { readFileSync } from 'node:fs';
import { App, Stack } from 'aws-cdk-lib';
import { quickStart } from './quick-start-variant';

const [instances, repetitions] = process.argv.slice(2).map(Number);
const loaded = performance.now(); // since the start of Node
const repeated = [];
for (let repetition = 0; repetition < repetitions; repetition++) {
  const started = performance.now();
  const app = new App({ analyticsReporting: false });
  for (let instance = 0; instance < instances; instance++) {
    quickStart(new Stack(app, `Mlflow${instance}`), {});
  }
  const defined = performance.now();
  const { stacks } = app.synth();
  const synthesised = performance.now();
  const bytes = stacks.reduce((sum, { templateFullPath }) => sum + readFileSync(templateFullPath).length, 0);
  repeated.push({ define: defined - started, synthesise: synthesised - defined, bytes });
}
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
console.log(JSON.stringify({ loaded, repeated, cpu: (userCPUTime + systemCPUTime) / 1000, memory: maxRSS * 1024 }));
