/** The roles of the template with their policies, and IAM's decision on calls to stand-ins in TypeScript. */

import assert from 'node:assert/strict';
import type { Template } from './template.mjs';

export interface Statement {
  readonly Effect: 'Allow' | 'Deny';
  readonly Action: string | string[];
  readonly Resource: string | string[];
  readonly Condition?: Record<string, Record<string, string | string[]>>;
}

export interface PolicyDocument {
  readonly Statement: Statement[];
}

export interface Policy {
  readonly PolicyName: string;
  readonly PolicyDocument: PolicyDocument;
  readonly Roles?: string[];
}

/** Values of condition keys. A key with several values has a list. */
type Context = Record<string, string | string[] | undefined>;

export class Roles {
  /** `substitute` replaces the URL of the server in the policies with that of this run. */
  constructor(private readonly template: Template, private readonly substitute: (text: string) => string) {}

  arn(role: string): string {
    return `arn:aws:iam::${this.template.account}:role/${role}`;
  }

  policies(role: string): Policy[] {
    const { ManagedPolicyArns, Policies } = this.template.properties<{ ManagedPolicyArns?: string[]; Policies?: Policy[] }>(role);
    if (ManagedPolicyArns) {
      throw new Error(`the role ${role} has managed policies, which are not supported here: ${ManagedPolicyArns}`);
    }
    const policies = [...this.template.all<Policy>('AWS::IAM::Policy').filter(policy => policy.Roles?.includes(role)), ...Policies ?? []];
    return JSON.parse(this.substitute(JSON.stringify(policies))) as Policy[];
  }

  /** Throws unless a statement allows the action, which has no resource, in this context. */
  authorize(role: string, action: string, context: Context): void {
    const all = this.policies(role).flatMap(({ PolicyDocument }) => PolicyDocument.Statement);
    const named = all.every(({ Effect, Action }) => Effect === 'Allow' && [Action].flat().every(name => name !== undefined && !name.includes('*')));
    assert(named, `only statements that allow actions by their whole names are supported here, but ${role} has others`);
    const statements = all.filter(({ Action }) => [Action].flat().includes(action));
    assert(statements.every(({ Resource }) => Resource === '*'), `only statements that allow ${action} for "*" are supported here`);
    const allowed = statements.some(({ Condition }) =>
      Object.entries(Condition ?? {}).every(([operator, keys]) =>
        Object.entries(keys).every(([key, wanted]) => meets(operator, context[key], [wanted].flat()))));
    if (!allowed) {
      throw new Error(`${role} is not authorized to perform ${action}`);
    }
  }
}

function meets(operator: string, given: string | string[] | undefined, wanted: string[]): boolean {
  const values = given === undefined ? [] : [given].flat();
  switch (operator) {
    case 'StringEquals': return values.length > 0 && values.every(value => wanted.includes(value));
    case 'StringEqualsIfExists':
    case 'ForAllValues:StringEquals': return values.every(value => wanted.includes(value));
    case 'ForAnyValue:StringEquals': return values.some(value => wanted.includes(value));
    case 'NumericLessThanEquals': return values.length > 0 && values.every(value => Number(value) <= Number(wanted[0]));
    default: throw new Error(`the condition ${operator} is not supported here`);
  }
}
