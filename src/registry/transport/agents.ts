import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as tls from 'node:tls';
import type { Dispatcher } from 'undici';
import { InvalidOptionError } from '../../errors';
import { lookupPublic } from './addresses';

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
  agentFor(url: URL, publicOnly: boolean): Promise<Dispatcher>;
  /** Ends all connections, those in use too. */
  close(): Promise<void>;
}

/**
 * Loaded when it is needed, because half of a short command's start would be its own; by `require`, because Jest takes no
 * `import()` from a package.
 */
export const undici = () => require('undici') as typeof import('undici');

/** The test registries of this machine are not reached by way of a proxy elsewhere. */
const neverProxied = ['localhost', '127.0.0.1', '[::1]'];

/**
 * @param timeout milliseconds for a connection to be there.
 * @throws {InvalidOptionError} naming the proxy's variable, or `ca`.
 */
export function openAgents(options: ConnectionOptions, timeout: number): Agents {
  const { insecureTls = () => false, ca = [], environment = process.env } = options;
  const proxies = proxiesOf(environment);
  const trust = ca.length > 0 ? { secureContext: trusting(ca, environment) } : {};
  const agents = new Map<string, Promise<Dispatcher>>();
  const open = async (insecure: boolean, publicOnly: boolean): Promise<Dispatcher> => {
    const { EnvHttpProxyAgent } = undici();
    const proxyTls = { timeout, ...trust };
    const requestTls = insecure ? { timeout, rejectUnauthorized: false } : proxyTls;
    const connect = publicOnly ? { ...requestTls, lookup: lookupPublic } : requestTls;
    return new EnvHttpProxyAgent({ ...proxies, connect, requestTls, proxyTls, proxyTunnel: false });
  };
  return {
    agentFor(url, publicOnly) {
      const insecure = insecureTls(url.host);
      const kind = `${insecure} ${publicOnly}`;
      const agent = agents.get(kind) ?? open(insecure, publicOnly);
      agents.set(kind, agent);
      return agent;
    },
    close: async () => {
      for (const agent of agents.values()) await (await agent).destroy();
    },
  };
}

function proxiesOf(environment: NodeJS.ProcessEnv) {
  const noProxy = environment.no_proxy ?? environment.NO_PROXY ?? '';
  return {
    httpProxy: proxyOf(environment, 'HTTP_PROXY'),
    httpsProxy: proxyOf(environment, 'HTTPS_PROXY'),
    noProxy: noProxy.trim() === '*' ? '*' : [noProxy, ...neverProxied].join(','),
  };
}

/** As curl and Go do it, `host:port` without a scheme is a proxy too. Empty for none. */
function proxyOf(environment: NodeJS.ProcessEnv, name: string): string {
  const value = environment[name.toLowerCase()] || environment[name] || '';
  const url = value === '' || /^\w+:\/\//.test(value) ? value : `http://${value}`;
  // The value may hold a password, so it is not shown.
  if (url !== '' && !(URL.canParse(url) && /^(https?|socks5?):$/.test(new URL(url).protocol))) {
    throw new InvalidOptionError(`${name}: expected a URL such as http://proxy.example.com:3128, found other text`);
  }
  return url;
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
