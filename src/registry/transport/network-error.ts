import { types } from 'node:util';
import { ConnectionError, OciError } from '../../errors';
import { redactedUrl } from './redaction';
import type { HttpRequest } from './transport';

/** What the codes of the system, of TLS and of our own timeouts say, and what one can do about it; the first that fits. */
const meanings: readonly (readonly [codes: RegExp, found: string, advice: string])[] = [
  [/^ECONNREFUSED$/, 'nobody listening there', 'start the registry, or correct its name and port'],
  [/^ENOTFOUND$/, 'no host of this name', 'correct the name of the registry, or set HTTPS_PROXY'],
  [/^EAI_AGAIN$/, 'no name server that answers', 'check the network, or set HTTPS_PROXY'],
  [/^(CONNECT_TIMEOUT|ETIMEDOUT|E(HOST|NET)(UNREACH|DOWN))$/, 'no way there', 'check the network and HTTPS_PROXY'],
  [/^(RESPONSE|IDLE)_TIMEOUT$/, 'silence for too long', 'try again later'],
  [
    /^(EPROTO|ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG))$/,
    'no TLS',
    'allow plain HTTP with --insecure if it is meant',
  ],
  [
    /CERT|^UNABLE_TO_|^CRL_|^INVALID_(CA|PURPOSE)$|^HOSTNAME_MISMATCH$/,
    'a certificate that is not trusted',
    'name the file of its CA in NODE_EXTRA_CA_CERTS, or correct the certificate',
  ],
  [/^(HPE_|HTTPParserError$)/, 'something else than HTTP', 'correct the name and port of the registry, or use https'],
  [/^PROXY_REFUSED$/, 'a proxy that refuses', 'check HTTPS_PROXY, HTTP_PROXY and NO_PROXY'],
  [/^PROXY_UNREACHED$/, 'no way to the proxy', 'check HTTPS_PROXY, HTTP_PROXY and NO_PROXY'],
];

/** A failure that the system has no code for. */
export function failure(message: string, code: string): Error {
  return Object.assign(new Error(message), { code });
}

/** A failure below HTTP as an error that names the request. Errors of our own, such as those of the request's body, stay. */
export function networkError(error: unknown, { method, url, signal }: HttpRequest): unknown {
  if (signal?.aborted) return signal.reason;
  if (error instanceof OciError || !types.isNativeError(error)) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  const [, found, advice] = meanings.find(([codes]) => codes.test(code)) ?? [/./, 'a broken connection', 'try again'];
  // Errors of the parser hold what was received, which may be a token.
  const cause = failure(error.message || code, code);
  return new ConnectionError(
    `${method} ${redactedUrl(url)}: expected a response, found ${found} (${code}); ${advice}`,
    code,
    {
      found,
      cause,
    },
  );
}
