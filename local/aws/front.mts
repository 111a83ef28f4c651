/** Plays the load balancer: TLS, the listeners' rules, the forwarded headers and the attributes that are synthesised. */

import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { createProxyServer } from 'http-proxy-3';
import type { Certificates } from './certificates.mjs';
import type { Template } from './template.mjs';

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

interface ListenerRule {
  readonly ListenerArn: string;
  readonly Priority: number;
  readonly Conditions: { readonly Field: string; readonly PathPatternConfig?: { readonly Values: string[] } }[];
  readonly Actions: Action[];
}

interface TargetGroup {
  readonly HealthCheckPath: string;
  readonly Matcher: { readonly HttpCode: string };
  readonly TargetGroupAttributes: { readonly Key: string; readonly Value: string }[];
}

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

export class Front {
  private readonly servers: { readonly server: http.Server | https.Server; readonly port: number }[] = [];
  private readonly attributes: Record<string, string>;
  private readonly targetGroup: TargetGroup;
  private readonly targets: { readonly url: string; inFlight: number }[] = [];
  private readonly agent = new http.Agent({ keepAlive: true });

  /** `ports` says which port of this machine stands for which port of the load balancer. */
  constructor(private readonly template: Template, private readonly ports: Record<number, number>, certificates: Certificates) {
    const { LoadBalancerAttributes } = template.single<{ LoadBalancerAttributes: { Key: string; Value: string }[] }>('AWS::ElasticLoadBalancingV2::LoadBalancer');
    this.attributes = Object.fromEntries(LoadBalancerAttributes.map(({ Key, Value }) => [Key, Value]));
    this.targetGroup = template.single('AWS::ElasticLoadBalancingV2::TargetGroup');
    for (const id of template.ids('AWS::ElasticLoadBalancingV2::Listener')) {
      const { Port, Protocol, DefaultActions, ListenerAttributes = [] } = template.properties<Listener>(id);
      const handle = this.handler(id, Port, DefaultActions);
      const headers = ListenerAttributes.map(({ Key, Value }) => [responseHeader(Key), Value] as const);
      const handler: Handler = (request, response) => {
        headers.forEach(([name, value]) => response.setHeader(name, value));
        handle(request, response);
      };
      // Node would end a request that takes longer than five minutes; the load balancer knows idle time only.
      const options = { requestTimeout: 0, keepAliveTimeout: this.idleTimeout, maxHeaderSize: 64 * 1024 };
      const server = Protocol === 'HTTPS'
        ? https.createServer({ ...options, ...certificates.server, minVersion: 'TLSv1.2' }, handler)
        : http.createServer(options, handler);
      server.setTimeout(this.idleTimeout);
      this.servers.push({ server, port: ports[Port] });
    }
  }

  async start(): Promise<void> {
    await Promise.all(this.servers.map(({ server, port }) => new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(port, '127.0.0.1', resolve);
    })));
  }

  /** Sends requests to a task, too, as soon as it answers its health check. `ended` says why it never will. */
  async register(url: string, ended: () => string | undefined): Promise<void> {
    const { HealthCheckPath, Matcher } = this.targetGroup;
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

  /** Sends no more requests to a task, and waits for those in flight as long as the target group says. */
  async deregister(url: string): Promise<void> {
    const target = this.targets.find(candidate => candidate.url === url);
    if (target === undefined) {
      return;
    }
    this.targets.splice(this.targets.indexOf(target), 1);
    const delay = this.targetGroup.TargetGroupAttributes.find(({ Key }) => Key === 'deregistration_delay.timeout_seconds')?.Value ?? '300';
    const deadline = Date.now() + Number(delay) * 1000;
    while (target.inFlight > 0 && Date.now() < deadline) {
      await sleep(50);
    }
  }

  stop(): void {
    for (const { server } of this.servers) {
      server.close();
    }
  }

  private get idleTimeout(): number {
    return Number(this.attributes['idle_timeout.timeout_seconds'] ?? 60) * 1000;
  }

  private handler(listener: string, listenerPort: number, defaultActions: Action[]): Handler {
    const rules = this.template.all<ListenerRule>('AWS::ElasticLoadBalancingV2::ListenerRule')
      .filter(rule => rule.ListenerArn === listener)
      .sort((one, other) => one.Priority - other.Priority)
      .map(rule => ({ matches: pathMatcher(rule), handle: this.perform(rule.Actions, listenerPort) }));
    const handleDefault = this.perform(defaultActions, listenerPort);
    return (request, response) => {
      const path = request.url!.split('?')[0];
      const handle = rules.find(rule => rule.matches(path))?.handle ?? handleDefault;
      handle(request, response);
    };
  }

  private perform(actions: Action[], listenerPort: number): Handler {
    const [action] = actions;
    switch (action.Type) {
      case 'forward':
        return this.forward(listenerPort);
      case 'fixed-response': {
        const { StatusCode, ContentType = 'text/plain', MessageBody = '' } = action.FixedResponseConfig!;
        return (_, response) => response.writeHead(Number(StatusCode), { 'content-type': ContentType }).end(MessageBody);
      }
      case 'redirect': {
        const { Protocol, Port, StatusCode } = action.RedirectConfig!;
        return (request, response) => {
          const location = new URL(request.url!, `${Protocol!.toLowerCase()}://${request.headers.host}`);
          location.port = String(this.ports[Number(Port)]);
          response.writeHead(Number(StatusCode.slice('HTTP_'.length)), { location: location.href }).end();
        };
      }
      default:
        throw new Error(`the listener action ${action.Type} is not played here`);
    }
  }

  /** To each target in turn. */
  private forward(listenerPort: number): Handler {
    const proxy = createProxyServer({ agent: this.agent, timeout: this.idleTimeout, proxyTimeout: this.idleTimeout });
    proxy.on('error', (_error, _request, response) => {
      if ('writeHead' in response && !response.headersSent) {
        response.writeHead(502);
      }
      response.end();
    });
    return (request, response) => {
      const target = this.targets.shift();
      if (target === undefined) {
        response.writeHead(503, { 'content-type': 'text/plain' }).end('no healthy target');
        return;
      }
      this.targets.push(target);
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

/** The header that a listener sets in all answers: `routing.http.response.<name>.header_value`. */
function responseHeader(attribute: string): string {
  const [, name] = /^routing\.http\.response\.(\w+)\.header_value$/.exec(attribute) ?? [];
  if (name === undefined) {
    throw new Error(`the listener attribute ${attribute} is not played here`);
  }
  return name.replaceAll('_', '-');
}

/** Path patterns are matched against the path as it was sent, nothing decoded: `*` is any text, `?` one character. */
function pathMatcher({ Conditions }: ListenerRule): (path: string) => boolean {
  const patterns = Conditions.map(({ Field, PathPatternConfig }) => {
    if (Field !== 'path-pattern') {
      throw new Error(`the listener condition ${Field} is not played here`);
    }
    return PathPatternConfig!.Values.map(value => new RegExp(`^${value.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.')}$`));
  });
  return path => patterns.every(alternatives => alternatives.some(pattern => pattern.test(path)));
}

async function status(url: string): Promise<number> {
  return fetch(url).then(response => response.status, () => 0);
}
