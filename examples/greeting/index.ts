/** What one says to whoever comes. */
export function greeting(name: string): string {
  return `Hello, ${name}!`;
}
