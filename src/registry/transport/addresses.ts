import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';
import { BlockList, isIP, isIPv6, type LookupFunction } from 'node:net';
import { UntrustedResponseError } from '../../errors';

/** Addresses of this machine and of its link. IPv4 addresses that are mapped into IPv6 count as what they are. */
const local = new BlockList();
local.addSubnet('0.0.0.0', 8);
local.addSubnet('127.0.0.0', 8);
local.addSubnet('169.254.0.0', 16);
local.addSubnet('::', 96, 'ipv6');
local.addSubnet('fe80::', 10, 'ipv6');

/** Addresses that mean something within one network only (RFC 1918, RFC 6598, RFC 4193). */
const inner = new BlockList();
inner.addSubnet('10.0.0.0', 8);
inner.addSubnet('100.64.0.0', 10);
inner.addSubnet('172.16.0.0', 12);
inner.addSubnet('192.168.0.0', 16);
inner.addSubnet('fc00::', 7, 'ipv6');

/** Whether a host, as `URL.hostname` spells it, is this machine or on its link, by name or by number. */
export function isLocalHost(hostname: string): boolean {
  return /(?:^|\.)localhost\.?$/i.test(hostname) || isIn(local, unbracketed(hostname));
}

/** Whether the registry at this URL is one for everybody: known by a name or a public address, and not over plain HTTP. */
export function isPublicRegistry({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' && !isLocalHost(hostname) && !isIn(inner, unbracketed(hostname));
}

/** Resolves a name as the system does, and refuses an address of this machine or of its link. */
export const lookupPublic: LookupFunction = (hostname, options: LookupOptions, callback) => {
  lookup(hostname, options, (error: Error | null, found: string | LookupAddress[], family?: number) => {
    const addresses = typeof found === 'string' ? [found] : (found ?? []).map(({ address }) => address);
    const refused = addresses.find((address) => isIn(local, address));
    callback(refused === undefined ? error : localAddress(hostname, refused), found, family);
  });
};

/** @param found the address that the host is or has. */
export function localAddress(host: string, found: string): UntrustedResponseError {
  return new UntrustedResponseError(
    `host ${host}: expected a public address, because a public registry led there, found ${found}, which is this machine's or its link's; do not trust this registry`,
    { expected: 'a public address', found },
  );
}

function unbracketed(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}

function isIn(list: BlockList, address: string): boolean {
  const unscoped = address.replace(/%.*$/, '');
  return isIP(unscoped) !== 0 && list.check(unscoped, isIPv6(unscoped) ? 'ipv6' : 'ipv4');
}
