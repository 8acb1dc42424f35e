const units = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Bytes as people read them: three digits at most, powers of 1,000 as docker and podman show them. */
export function formatSize(bytes: number): string {
  const power = bytes === 0 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1);
  const value = bytes / 1000 ** power;
  const text = power === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1);
  return `${text} ${units[power]}`;
}
