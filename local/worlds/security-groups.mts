/** The security groups of the template as rules of nftables. */

import type { Template } from '../aws/template.mjs';

interface Rule {
  readonly IpProtocol: string;
  readonly FromPort?: number;
  readonly ToPort?: number;
  readonly CidrIp?: string;
  readonly CidrIpv6?: string;
  readonly SourceSecurityGroupId?: string;
  readonly DestinationSecurityGroupId?: string;
  readonly SourcePrefixListId?: string;
  readonly DestinationPrefixListId?: string;
}

const everything: Rule = { IpProtocol: '-1', CidrIp: '0.0.0.0/0' };

type Direction = 'Ingress' | 'Egress';

/** The members of each group: addresses or ranges of addresses. */
export type Members = ReadonlyMap<string, readonly string[]>;

export class SecurityGroups {
  /** `prefixLists` are the addresses of every prefix list, which are those of S3. */
  constructor(private readonly template: Template, private readonly members: Members, private readonly prefixLists: readonly string[]) {}

  /** Conditions of nftables for new connections that a group allows in or out. */
  allowed(groups: readonly string[], direction: Direction): string[] {
    return groups.flatMap(group => this.rules(group, direction)).flatMap(rule => {
      const peers = this.peers(rule);
      return peers.length === 0 ? [] : [`ip ${direction === 'Ingress' ? 'saddr' : 'daddr'} { ${peers.join(', ')} } ${portsOf(rule)}`.trim()];
    });
  }

  private rules(group: string, direction: Direction): Rule[] {
    if (!this.template.ids('AWS::EC2::SecurityGroup').includes(group)) {
      return [everything]; // an existing group, whose rules are not in the template
    }
    const own = this.template.properties<Record<`SecurityGroup${Direction}`, Rule[] | undefined>>(group)[`SecurityGroup${direction}`] ?? [];
    const separate = this.template.all<Rule & { GroupId: string }>(`AWS::EC2::SecurityGroup${direction}`).filter(({ GroupId }) => GroupId === group);
    const rules = [...own, ...separate];
    // A group without egress rules allows all outgoing traffic.
    return rules.length === 0 && direction === 'Egress' ? [everything] : rules;
  }

  private peers({ CidrIp, SourceSecurityGroupId, DestinationSecurityGroupId, SourcePrefixListId, DestinationPrefixListId }: Rule): readonly string[] {
    if (CidrIp !== undefined) {
      return [CidrIp];
    }
    const group = SourceSecurityGroupId ?? DestinationSecurityGroupId;
    if (group !== undefined) {
      return this.members.get(group) ?? [];
    }
    return (SourcePrefixListId ?? DestinationPrefixListId) === undefined ? [] : this.prefixLists; // otherwise the rule is for IPv6, which is not used here
  }
}

function portsOf({ IpProtocol, FromPort, ToPort }: Rule): string {
  switch (IpProtocol) {
    case '-1': return '';
    case 'icmp': return 'ip protocol icmp';
    default: return `${IpProtocol} dport ${FromPort}-${ToPort}`;
  }
}
