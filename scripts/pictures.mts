/** `npm run pictures` draws docs/images/*.svg from the *.d2 beside them (https://d2lang.com); with `-- --check` it looks whether that has been done. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, parse } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { D2 } from '@terrastruct/d2';
import { Template } from '../local/aws/template.mjs';
import { Checks } from '../local/checks/checks.mjs';
import { root, synthesise } from '../local/run.mjs';

const folder = join(root, 'docs', 'images');

/** D2 takes colours of a theme, which change on a dark page, in no style of a source: so the classes of style.d2 get them here. */
const colours: Record<string, { readonly fill: string; readonly stroke: string }> = {
  gate: { fill: 'AA5', stroke: 'AA2' },
  data: { fill: 'AB5', stroke: 'AB4' },
  zone: { fill: 'N6', stroke: 'N4' },
  task: { fill: 'N7', stroke: 'AA2' },
};

export async function checkPictures(): Promise<Checks> {
  const checks = new Checks();
  checks.heading('The pictures are what their sources give');
  for (const [name, svg] of await draw()) {
    await checks.check(name, async () => {
      if (readFileSync(join(folder, name), 'utf8') !== svg) {
        throw new Error('another picture than its source and the template give: `npm run pictures`, look at it, commit it');
      }
    });
  }
  return checks;
}

/** Names of files and what belongs into them. */
async function draw(): Promise<Map<string, string>> {
  const names = readdirSync(folder).filter(name => name.endsWith('.d2'));
  const sources = Object.fromEntries(names.map(name => [name, readFileSync(join(folder, name), 'utf8')]));
  sources['rules.d2'] = rulesOf(Template.read(await synthesise('examples/typescript/quick-start/app.ts', join(root, '.try', 'pictures'))));
  const pictures = new Map<string, string>();
  const d2 = new D2();
  try {
    for (const inputPath of names.filter(name => name !== 'style.d2')) {
      const { diagram, renderOptions } = await d2.compile({ fs: sources, inputPath, options: {} });
      for (const shape of diagram.shapes) {
        Object.assign(shape, ...(shape.classes ?? []).map(name => colours[name]));
      }
      pictures.set(`${parse(inputPath).name}.svg`, `${await d2.render(diagram, renderOptions)}\n`);
    }
  } finally {
    await (d2 as unknown as { worker: Worker }).worker.terminate(); // it has no method for it, and would keep this process alive
  }
  return pictures;
}

interface Rule {
  readonly CidrIp?: string;
  readonly SourceSecurityGroupId: string;
  readonly DestinationSecurityGroupId: string;
  readonly GroupId: string;
  readonly FromPort: number;
}

interface Group {
  readonly GroupDescription: string;
  readonly SecurityGroupIngress?: Rule[];
  readonly SecurityGroupEgress?: Rule[];
}

interface Policy {
  readonly Roles: string[];
  readonly PolicyDocument: { readonly Statement: { readonly Action: string | string[]; readonly Resource: string }[] };
}

/** Who may reach what, as lines of D2: solid what the security groups let through, dashed what the roles of the task may do. */
function rulesOf(template: Template): string {
  const groups = new Map(template.ids('AWS::EC2::SecurityGroup').map(id => [id, template.properties<Group>(id)]));
  const lines: string[] = [];
  const ports = (from: string, to: string, rules: Rule[]) => {
    if (rules.length > 0) {
      lines.push(`"${from}" -> "${to}": "${rules.map(({ FromPort }) => FromPort).join(', ')}"`);
    }
  };
  const anywhere = (rules: Rule[] = []) => rules.filter(({ CidrIp }) => CidrIp === '0.0.0.0/0');
  for (const { GroupDescription, SecurityGroupIngress, SecurityGroupEgress } of groups.values()) {
    ports('anybody', GroupDescription, anywhere(SecurityGroupIngress));
    ports(GroupDescription, 'any address', anywhere(SecurityGroupEgress));
  }
  const outward = template.all<Rule>('AWS::EC2::SecurityGroupEgress');
  for (const rule of template.all<Rule>('AWS::EC2::SecurityGroupIngress')) { // open where both ends say so
    const both = outward.filter(({ GroupId, DestinationSecurityGroupId, FromPort }) =>
      GroupId === rule.SourceSecurityGroupId && DestinationSecurityGroupId === rule.GroupId && FromPort === rule.FromPort);
    ports(groups.get(rule.SourceSecurityGroupId)!.GroupDescription, groups.get(rule.GroupId)!.GroupDescription, both);
  }

  const { TaskRoleArn, ExecutionRoleArn } = template.single<{ TaskRoleArn: string; ExecutionRoleArn: string }>('AWS::ECS::TaskDefinition');
  for (const [who, arn] of [['MLflow tasks', TaskRoleArn], ['ECS, to start a task', ExecutionRoleArn]]) {
    const statements = template.all<Policy>('AWS::IAM::Policy').filter(({ Roles }) => Roles.includes(arn.split('/')[1])).flatMap(policy => policy.PolicyDocument.Statement);
    const services = new Set(statements.map(({ Resource }) => serviceOf(Resource)));
    for (const service of services) {
      const mine = statements.filter(({ Resource }) => serviceOf(Resource) === service);
      const actions = new Set(mine.flatMap(({ Action }) => Action).map(action => action.split(':')[1]));
      lines.push(`"${who}" -> "${things[service](mine.map(({ Resource }) => Resource))}": "${[...actions].join('\\n')}" { class: faint }`);
    }
  }
  return lines.join('\n');
}

function serviceOf(arn: string): string {
  return arn.split(':')[2];
}

/** What the picture calls resources of a service. */
const things: Record<string, (arns: string[]) => string> = {
  s3: arns => `bucket: ${arns.flatMap(arn => arn.split('/').slice(1).join('/') || []).join()}`,
  secretsmanager: arns => `${arns.length} secrets`,
  logs: () => 'log group',
};

if (process.argv[1] === import.meta.filename && process.argv[2] === '--check') {
  process.exitCode = Math.min((await checkPictures()).failed, 1);
} else if (process.argv[1] === import.meta.filename) {
  for (const [name, svg] of await draw()) {
    writeFileSync(join(folder, name), svg);
    console.log(join('docs', 'images', name));
  }
}
