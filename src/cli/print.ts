/** Prints what a command has to say: for programs as JSON, for people as text. */
export function print(json: boolean | undefined, data: unknown, text: () => string): void {
  const said = json ? JSON.stringify(data, null, 2) : text();
  if (said !== '') process.stdout.write(`${said}\n`);
}
