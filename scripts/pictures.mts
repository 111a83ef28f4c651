/** `npm run pictures` draws docs/images/*.svg from the *.d2 files there (https://d2lang.com). With `-- --check` it checks that they are up to date. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, parse } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { D2 } from '@terrastruct/d2';
import { Template } from '../local/aws/template.mjs';
import { Checks } from '../local/checks/checks.mjs';
import { root, synthesise } from '../local/run.mjs';

const folder = join(root, 'docs', 'images');

/** The colours of the classes in style.d2. In a source, D2 accepts no colours of a theme, which change on a dark page, so they are set here. */
const colours: Record<string, { readonly fill: string; readonly stroke: string }> = {
  gate: { fill: 'AA5', stroke: 'AA2' },
  data: { fill: 'AB5', stroke: 'AB4' },
  zone: { fill: 'N6', stroke: 'N4' },
  task: { fill: 'N7', stroke: 'AA2' },
};

export async function checkPictures(): Promise<Checks> {
  const checks = new Checks();
  checks.heading('The pictures match their sources');
  for (const [name, svg] of await draw()) {
    await checks.check(name, async () => {
      if (readFileSync(join(folder, name), 'utf8') !== svg) {
        throw new Error('the picture does not match its source and the template: run `npm run pictures`, look at the picture, and commit it');
      }
    });
  }
  return checks;
}

/** Names and contents of the files. */
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
      pictures.set(`${parse(inputPath).name}.svg`, `${sized(await d2.render(diagram, renderOptions))}\n`);
    }
  } finally {
    await (d2 as unknown as { worker: Worker }).worker.terminate(); // D2 has no method for this, and its worker would keep this process running
  }
  return pictures;
}

/** With a width and a height, without which a browser shows it 300 px wide in a table. */
function sized(svg: string): string {
  return svg.replace(/viewBox="0 0 (\d+) (\d+)"/, 'width="$1" height="$2" $&');
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

/** The allowed connections and actions as lines of D2: solid for security groups, dashed for the roles of the task. */
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
    ports('anyone', GroupDescription, anywhere(SecurityGroupIngress));
    ports(GroupDescription, 'any address', anywhere(SecurityGroupEgress));
  }
  const outward = template.all<Rule>('AWS::EC2::SecurityGroupEgress');
  for (const rule of template.all<Rule>('AWS::EC2::SecurityGroupIngress')) { // open if the rules of both ends allow it
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

/** The names of a service's resources in the picture. */
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
