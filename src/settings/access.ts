import { AccessLevel, AccessMembers, AccessOptions } from '../access';

/** All levels in ascending order. */
export const LEVELS = [AccessLevel.NONE, AccessLevel.READER, AccessLevel.EDITOR, AccessLevel.ADMIN];

/** The lists in `access`, and the level of their members. */
export const LISTS = [['admins', AccessLevel.ADMIN], ['editors', AccessLevel.EDITOR], ['readers', AccessLevel.READER]] as const;

export function isAbove(level: AccessLevel, other: AccessLevel): boolean {
  return LEVELS.indexOf(level) > LEVELS.indexOf(other);
}

/** Whether a list contains groups. If so, sign-ins must contain the groups of a person. */
export function namesGroups(access?: AccessOptions): boolean {
  return LISTS.some(([list]) => access?.[list]?.groups !== undefined);
}

/** A call of `grantTrackingAccess`. */
export interface Grant {
  readonly roleArn: string;
  readonly level?: AccessLevel;
}

/** The policy that the inner door reads from `SECURE_MLFLOW_ACCESS`. */
export interface AccessPolicy {
  readonly everybody: AccessLevel;
  readonly machines: AccessLevel;
  readonly lists: { readonly level: AccessLevel; readonly groups: string[]; readonly names: string[] }[];
}

export function accessPolicy(access: AccessOptions & Pick<AccessPolicy, 'everybody' | 'machines'>, grants: Grant[]): AccessPolicy {
  const { everybody, machines } = access;
  const roles = levelsOf(grants, machines);
  const lists = LISTS.map(([list, level]) => {
    const members: AccessMembers = access[list] ?? {};
    const granted = [...roles].filter(([, own]) => own === level).map(([roleArn]) => roleArn);
    return { level, groups: members.groups ?? [], names: [...new Set([...members.people ?? [], ...members.machines ?? [], ...granted])] };
  });
  return { everybody, machines, lists: lists.filter(({ groups, names }) => groups.length + names.length > 0) };
}

/** The highest level of each role that was granted a level. A grant without a level counts as `machines`, but does not put the role on a list by itself. */
function levelsOf(grants: Grant[], machines: AccessLevel): Map<string, AccessLevel> {
  const levels = new Map<string, AccessLevel>();
  for (const { roleArn } of grants.filter(({ level }) => level !== undefined)) {
    const own = grants.filter(grant => grant.roleArn === roleArn).map(({ level = machines }) => level);
    levels.set(roleArn, own.reduce((highest, level) => isAbove(level, highest) ? level : highest));
  }
  return levels;
}
