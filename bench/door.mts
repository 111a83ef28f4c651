/** The processor time of the inner door for a request: an application that does nothing, with and without the door. */

import { join } from 'node:path';
import { execa } from 'execa';
import { rounded, type Options, type Table } from './table.mjs';
import { installPrograms, python, root } from '../local/run.mjs';

export async function measureDoor({ quick }: Options): Promise<Table[]> {
  await installPrograms();
  const { stdout } = await execa(python, [join(import.meta.dirname, 'door.py'), join(root, 'containers'), quick ? '10' : '20000']);
  const measured = JSON.parse(stdout.split('\n').at(-1)!) as Record<string, [without: number, withDoor: number, withAccess: number]>;
  return [{
    title: 'The inner door, processor time, microseconds a request',
    rows: Object.entries(measured).map(([request, [without, withDoor, withAccess]]) => ({
      request, 'without': rounded(without), 'this library, with the door': rounded(withDoor), 'this library, with `access`': rounded(withAccess),
    })),
  }];
}
