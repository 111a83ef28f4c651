/** A stand-in for the load balancer: TLS, the listeners' rules, the forwarded headers and the synthesised attributes. */

import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { createProxyServer } from 'http-proxy-3';
import type { Certificate } from './certificates.mjs';
import type { Template } from './template.mjs';
import type { Site } from '../worlds/world.mjs';

interface Action {
  readonly Type: string;
  readonly TargetGroupArn?: string;
  readonly FixedResponseConfig?: { readonly StatusCode: string; readonly ContentType?: string; readonly MessageBody?: string };
  readonly RedirectConfig?: { readonly Protocol?: string; readonly Port?: string; readonly StatusCode: 'HTTP_301' | 'HTTP_302' };
}

interface Listener {
  readonly Port: number;
  readonly Protocol: 'HTTP' | 'HTTPS';
  readonly DefaultActions: Action[];
  readonly ListenerAttributes?: { readonly Key: string; readonly Value: string }[];
}

interface Values {
  readonly Values: string[];
}

interface ListenerRule {
  readonly ListenerArn: string;
  readonly Priority: number;
  readonly Conditions: { readonly Field: string; readonly HostHeaderConfig?: Values; readonly PathPatternConfig?: Values }[];
  readonly Actions: Action[];
}

interface TargetGroupProperties {
  readonly HealthCheckPath?: string;
  readonly Matcher?: { readonly HttpCode: string };
  readonly TargetGroupAttributes: { readonly Key: string; readonly Value: string }[];
}

interface LoadBalancer {
  readonly LoadBalancerAttributes: { readonly Key: string; readonly Value: string }[];
  readonly Scheme: string;
}

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

/** `localhost` stands in for the host of the server's public URL. Other hosts are unchanged. */
export interface FrontOptions {
  /** The address here for each port of the load balancer. */
  readonly sites: Readonly<Record<number, Pick<Site, 'listen'>>>;
  readonly publicHost: string;
  /** Replaces the URLs in fixed answers. */
  readonly replace: (text: string) => string;
  /** The idle timeout, if it is not that of the template. */
  readonly idleSeconds?: number;
}

export class Front {
  private readonly servers: { readonly server: http.Server | https.Server; readonly host: string; readonly port: number }[] = [];
  private readonly attributes: Record<string, string>;
  private readonly targetGroups: ReadonlyMap<string, TargetGroup>;
  private readonly agent = new http.Agent({ keepAlive: true });
  /** Whether its address is in the VPC. */
  readonly internal: boolean;

  constructor(private readonly template: Template, private readonly played: FrontOptions, certificate: Certificate) {
    const { LoadBalancerAttributes, Scheme } = template.single<LoadBalancer>('AWS::ElasticLoadBalancingV2::LoadBalancer');
    this.internal = Scheme === 'internal';
    this.attributes = Object.fromEntries(LoadBalancerAttributes.map(({ Key, Value }) => [Key, Value]));
    this.targetGroups = new Map(template.ids('AWS::ElasticLoadBalancingV2::TargetGroup').map(id => [id, new TargetGroup(template.properties(id))]));
    for (const id of template.ids('AWS::ElasticLoadBalancingV2::Listener')) {
      const { Port, Protocol, DefaultActions, ListenerAttributes = [] } = template.properties<Listener>(id);
      const handle = this.handler(id, Port, DefaultActions);
      const headers = ListenerAttributes.map(({ Key, Value }) => [responseHeader(Key), Value] as const);
      const handler: Handler = (request, response) => {
        headers.forEach(([name, value]) => response.setHeader(name, value));
        handle(request, response);
      };
      // Node would end a request after five minutes. The load balancer has only an idle timeout.
      const options = { requestTimeout: 0, keepAliveTimeout: this.idleTimeout, maxHeaderSize: 64 * 1024 };
      const server = Protocol === 'HTTPS'
        ? https.createServer({ ...options, ...certificate, minVersion: 'TLSv1.2' }, handler)
        : http.createServer(options, handler);
      server.setTimeout(this.idleTimeout);
      this.servers.push({ server, ...played.sites[Port].listen });
    }
  }

  async start(): Promise<void> {
    await Promise.all(this.servers.map(({ server, host, port }) => new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, host, resolve);
    })));
  }

  targetGroup(id: string): TargetGroup {
    return this.targetGroups.get(id)!;
  }

  stop(): void {
    for (const { server } of this.servers) {
      server.close();
    }
  }

  private get idleTimeout(): number {
    return Number(this.played.idleSeconds ?? this.attributes['idle_timeout.timeout_seconds'] ?? 60) * 1000;
  }

  private handler(listener: string, listenerPort: number, defaultActions: Action[]): Handler {
    const rules = this.template.all<ListenerRule>('AWS::ElasticLoadBalancingV2::ListenerRule')
      .filter(rule => rule.ListenerArn === listener)
      .sort((one, other) => one.Priority - other.Priority)
      .map(rule => ({ matches: matcher(rule), handle: this.perform(rule.Actions, listenerPort) }));
    const handleDefault = this.perform(defaultActions, listenerPort);
    return (request, response) => {
      const [host] = (request.headers.host ?? '').toLowerCase().split(':');
      const [path] = request.url!.split('?');
      const handle = rules.find(rule => rule.matches(host === 'localhost' ? this.played.publicHost : host, path))?.handle ?? handleDefault;
      handle(request, response);
    };
  }

  private perform(actions: Action[], listenerPort: number): Handler {
    const [action] = actions;
    switch (action.Type) {
      case 'forward':
        return this.forward(this.targetGroup(action.TargetGroupArn!), listenerPort);
      case 'fixed-response': {
        const { StatusCode, ContentType = 'text/plain', MessageBody = '' } = action.FixedResponseConfig!;
        const body = this.played.replace(MessageBody);
        return (_, response) => response.writeHead(Number(StatusCode), { 'content-type': ContentType }).end(body);
      }
      case 'redirect': {
        const { Protocol, Port, StatusCode } = action.RedirectConfig!;
        return (request, response) => {
          const location = new URL(request.url!, `${Protocol!.toLowerCase()}://${request.headers.host}`);
          location.port = String(this.played.sites[Number(Port)].listen.port);
          response.writeHead(Number(StatusCode.slice('HTTP_'.length)), { location: location.href }).end();
        };
      }
      default:
        throw new Error(`the listener action ${action.Type} is not supported here`);
    }
  }

  private forward(targetGroup: TargetGroup, listenerPort: number): Handler {
    const proxy = createProxyServer({ agent: this.agent, timeout: this.idleTimeout, proxyTimeout: this.idleTimeout });
    proxy.on('error', (_error, _request, response) => {
      if ('writeHead' in response && !response.headersSent) {
        response.writeHead(502);
      }
      response.end();
    });
    return (request, response) => {
      const target = targetGroup.next();
      if (target === undefined) {
        response.writeHead(503, { 'content-type': 'text/plain' }).end('no healthy target');
        return;
      }
      target.inFlight += 1;
      response.once('close', () => target.inFlight -= 1);
      const { headers } = request;
      if (this.attributes['routing.http.drop_invalid_header_fields.enabled'] === 'true') {
        Object.keys(headers).filter(name => !/^[-a-z0-9]+$/.test(name)).forEach(name => delete headers[name]);
      }
      const peer = request.socket.remoteAddress!;
      headers['x-forwarded-for'] = headers['x-forwarded-for'] ? `${headers['x-forwarded-for']}, ${peer}` : peer;
      headers['x-forwarded-proto'] = 'encrypted' in request.socket ? 'https' : 'http';
      headers['x-forwarded-port'] = String(listenerPort);
      proxy.web(request, response, { target: target.url });
    };
  }
}

/** Tasks to which requests are sent in turn. */
export class TargetGroup {
  private readonly targets: { readonly url: string; inFlight: number }[] = [];

  constructor(private readonly properties: TargetGroupProperties) {}

  /** Adds a task as soon as it answers its health check. `ended` returns the reason if it has ended. */
  async register(url: string, ended: () => string | undefined): Promise<void> {
    const { HealthCheckPath = '/', Matcher = { HttpCode: '200' } } = this.properties;
    const healthy = Matcher.HttpCode.split(',').map(Number);
    const deadline = Date.now() + 60_000;
    while (!healthy.includes(await status(url + HealthCheckPath))) {
      const reason = ended();
      if (reason !== undefined) {
        throw new Error(reason);
      }
      if (Date.now() > deadline) {
        throw new Error(`the target does not answer ${HealthCheckPath} with ${Matcher.HttpCode}`);
      }
      await sleep(200);
    }
    this.targets.push({ url, inFlight: 0 });
  }

  /** Sends no more requests to a task, and waits for running requests, at most for the time in the target group. */
  async deregister(url: string): Promise<void> {
    const target = this.targets.find(candidate => candidate.url === url);
    if (target === undefined) {
      return;
    }
    this.targets.splice(this.targets.indexOf(target), 1);
    const delay = this.properties.TargetGroupAttributes.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds')?.Value ?? '300';
    const deadline = Date.now() + Number(delay) * 1000;
    while (target.inFlight > 0 && Date.now() < deadline) {
      await sleep(50);
    }
  }

  /** The next target; undefined if there is none. */
  next() {
    const target = this.targets.shift();
    if (target !== undefined) {
      this.targets.push(target);
    }
    return target;
  }
}

/** The header that a listener sets in all answers, from `routing.http.response.<name>.header_value`. */
function responseHeader(attribute: string): string {
  const [, name] = /^routing\.http\.response\.(\w+)\.header_value$/.exec(attribute) ?? [];
  if (name === undefined) {
    throw new Error(`the listener attribute ${attribute} is not supported here`);
  }
  return name.replaceAll('_', '-');
}

/** Matches host and path as they were sent, without decoding: `*` is any text, `?` one character. */
function matcher({ Conditions }: ListenerRule): (host: string, path: string) => boolean {
  const conditions = Conditions.map(({ Field, HostHeaderConfig, PathPatternConfig }) => {
    const patterns = (HostHeaderConfig ?? PathPatternConfig)?.Values;
    if (patterns === undefined) {
      throw new Error(`the listener condition ${Field} is not supported here`);
    }
    const alternatives = patterns.map(value => new RegExp(`^${value.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.')}$`));
    return (host: string, path: string) => alternatives.some(pattern => pattern.test(HostHeaderConfig === undefined ? path : host));
  });
  return (host, path) => conditions.every(holds => holds(host, path));
}

async function status(url: string): Promise<number> {
  return fetch(url).then(response => response.status, () => 0);
}
