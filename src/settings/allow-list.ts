import { Fn, Token } from 'aws-cdk-lib';

/** A name that nobody's group, role, team or domain has: GitHub takes a team without a colon for a mistake, and none of them may hold one. */
const NOBODY = 'nobody:nobody';

/** A list for oauth2-proxy, which takes an empty one for no rule at all: where it could be empty at deployment, it lets nobody in. */
export function allowList(entries: string[]): string {
  const list = Fn.join(',', entries);
  return Token.isUnresolved(entries) || entries.some(entry => Token.isUnresolved(entry)) ? Fn.join(',', [list, NOBODY]) : list;
}
