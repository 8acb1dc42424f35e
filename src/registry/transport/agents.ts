import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as tls from 'node:tls';
import { InvalidOptionError } from '../../errors';
import { lookupPublic } from './addresses';
import { failure } from './network-error';

/** Whom the connections of a process trust, and what way they take. */
export interface ConnectionOptions {
  /**
   * Whether the certificate of a host (`host`, or `host:port` if the port is not that of the scheme) is believed unseen.
   * By default that of none is.
   */
  readonly insecureTls?: (host: string) => boolean;
  /** Certificates of authorities in PEM that are trusted beside those of Node and of NODE_EXTRA_CA_CERTS. */
  readonly ca?: readonly string[];
  /** Where HTTPS_PROXY, HTTP_PROXY and NO_PROXY are read, in capitals or not. By default this process's own. */
  readonly environment?: NodeJS.ProcessEnv;
}

/** Connections that are kept for the next request. */
export interface Agents {
  /** What a request to this URL is made with. */
  optionsFor(url: URL, publicOnly: boolean): https.RequestOptions;
  /** Ends all connections, those in use too. */
  close(): void;
}

/** The test registries of this machine are not reached by way of a proxy elsewhere. */
const neverProxied = ['localhost', '127.0.0.1', '[::1]'];

/** @throws {InvalidOptionError} naming the proxy's variable, or `ca`. */
export function openAgents(options: ConnectionOptions): Agents {
  const { insecureTls = () => false, ca = [], environment = process.env } = options;
  const proxies = { 'http:': proxyIn(environment, 'HTTP_PROXY'), 'https:': proxyIn(environment, 'HTTPS_PROXY') };
  const exceptions = [...neverProxied, ...(valueIn(environment, 'NO_PROXY') ?? '').split(/[\s,]+/).filter(Boolean)];
  const trust = ca.length > 0 ? { secureContext: trusting(ca, environment) } : {};
  const agents = new Map<string, http.Agent>();

  const agentFor = (kind: string, { protocol }: URL, proxy: URL | undefined): http.Agent => {
    const known = agents.get(kind);
    if (known) return known;
    const agent = proxy ? proxyAgent(protocol, proxy, trust) : directAgent(protocol);
    agents.set(kind, agent);
    return agent;
  };
  return {
    optionsFor: (url, publicOnly) => {
      const { protocol, host } = url;
      const proxy = exceptions.some((pattern) => isExcepted(url, pattern)) ? undefined : proxies[protocol as 'https:'];
      const isInsecure = insecureTls(host);
      const kind = [protocol, proxy !== undefined, isInsecure, publicOnly].join(' ');
      return {
        agent: agentFor(kind, url, proxy),
        ...(protocol === 'https:' && (isInsecure ? { rejectUnauthorized: false } : trust)),
        ...(publicOnly && { lookup: lookupPublic }),
      };
    },
    close: () => {
      for (const agent of agents.values()) agent.destroy();
    },
  };
}

const kept = { keepAlive: true };

function directAgent(protocol: string): http.Agent {
  return protocol === 'https:' ? new https.Agent(kept) : new http.Agent(kept);
}

/**
 * Most machines have no proxy, and their commands need not load how one is used. By `require`, because Jest takes no
 * `import()` from a package.
 */
function proxyAgent(protocol: string, proxy: URL, trust: tls.ConnectionOptions): http.Agent {
  if (protocol === 'https:') {
    const { HttpsProxyAgent } = require('https-proxy-agent') as typeof import('https-proxy-agent');
    const agent = new HttpsProxyAgent(proxy, { ...kept, ...trust });
    return Object.assign(agent, { connect: blamingProxy(agent.connect.bind(agent)) });
  }
  const { HttpProxyAgent } = require('http-proxy-agent') as typeof import('http-proxy-agent');
  const agent = new HttpProxyAgent(proxy, { ...kept, ...trust });
  return Object.assign(agent, { connect: blamingProxy(agent.connect.bind(agent)) });
}

/** What fails before there is a way through the proxy is no failure of the registry. */
function blamingProxy<To extends unknown[], Way>(connect: (...to: To) => Promise<Way>): (...to: To) => Promise<Way> {
  return (...to) =>
    connect(...to).catch((error: Error) => {
      throw failure(error.message, 'PROXY_UNREACHED');
    });
}

function valueIn(environment: NodeJS.ProcessEnv, name: string): string | undefined {
  return environment[name.toLowerCase()] || environment[name];
}

/** As curl and Go do it, `host:port` without a scheme is a proxy too. */
function proxyIn(environment: NodeJS.ProcessEnv, name: string): URL | undefined {
  const value = valueIn(environment, name);
  if (!value) return undefined;
  const url = /^\w+:\/\//.test(value) ? value : `http://${value}`;
  if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return new URL(url);
  // The value may hold a password, so it is not shown.
  throw new InvalidOptionError(`${name}: expected a URL such as http://proxy.example.com:3128, found other text`);
}

/** A host and what is below it, with a port or for all; `*` for everything. */
function isExcepted({ hostname, protocol, port }: URL, pattern: string): boolean {
  if (pattern === '*') return true;
  const [, name = '', only] = /^(.*?)(?::(\d+))?$/.exec(pattern.replace(/^\*?\./, '').toLowerCase()) ?? [];
  const isIpv6 = pattern.startsWith('[') && !pattern.includes(']:');
  const host = isIpv6 ? pattern.toLowerCase() : name;
  const actual = port || (protocol === 'https:' ? '443' : '80');
  if (!isIpv6 && only !== undefined && only !== actual) return false;
  return hostname === host || hostname.endsWith(`.${host}`);
}

/** Node takes authorities that it is given instead of its own, so these are given too. */
function trusting(ca: readonly string[], environment: NodeJS.ProcessEnv): tls.SecureContext {
  for (const [position, pem] of ca.entries()) checkCertificate(pem, `ca[${position}]`);
  return tls.createSecureContext({ ca: [...tls.rootCertificates, ...extraCertificates(environment), ...ca] });
}

function checkCertificate(pem: string, name: string): void {
  try {
    new X509Certificate(pem);
  } catch (error) {
    throw new InvalidOptionError(`${name}: expected a certificate in PEM, found other text`, { cause: error });
  }
}

/** Node only warns of a file that it can't read. */
function extraCertificates(environment: NodeJS.ProcessEnv): readonly string[] {
  const file = environment.NODE_EXTRA_CA_CERTS;
  if (!file) return [];
  try {
    return [readFileSync(file, 'utf8')];
  } catch {
    return [];
  }
}
