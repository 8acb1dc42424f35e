import { createHash, timingSafeEqual } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { compare, hashSync } from 'bcryptjs';
import { bytesOf } from '../../blob';
import { fileSystemStep, InvalidOptionError } from '../../errors';

/** Who is known: one user, or those of a file as `htpasswd -B` writes it, with bcrypt hashes. */
export type Users = { readonly username: string; readonly password: string } | { readonly htpasswd: string };

/** Whether this is the user's password. It takes as long for a user that there is not. */
export type PasswordCheck = (username: string, password: string) => Promise<boolean>;

/** The largest htpasswd file that is read, in bytes. */
const maxHtpasswd = 1024 * 1024;

/** How many passwords are remembered as right, because bcrypt is slow on purpose. */
const maxRemembered = 1000;

/**
 * @throws {InvalidOptionError} if a line of the htpasswd file is none with a bcrypt hash.
 * @throws {FileSystemError}
 */
export async function passwordCheck(users: Users): Promise<PasswordCheck> {
  checkUsers(users);
  if ('htpasswd' in users) return hashCheck(await readHtpasswd(users.htpasswd));
  const expected = fingerprint(users.username, users.password);
  return async (username, password) => timingSafeEqual(fingerprint(username, password), expected);
}

/** What TypeScript says, for JavaScript; what was given instead may be a password, and is not told. */
function checkUsers(users: unknown): void {
  const { htpasswd, username, password } = (users ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof htpasswd === 'string' || (typeof username === 'string' && typeof password === 'string')) return;
  const expected = 'a username and a password, or an htpasswd file';
  throw new InvalidOptionError(`auth.users: expected ${expected}, found neither`, { expected });
}

function hashCheck(hashes: ReadonlyMap<string, string>): PasswordCheck {
  const right = new Set<string>();
  const decoy = hashes.values().next().value ?? hashSync('', 10);
  return async (username, password) => {
    const remembered = fingerprint(username, password).toString('hex');
    if (right.has(remembered)) return true;
    const isRight = (await compare(password, hashes.get(username) ?? decoy)) && hashes.has(username);
    if (isRight) {
      if (right.size >= maxRemembered) right.clear();
      right.add(remembered);
    }
    return isRight;
  };
}

async function readHtpasswd(path: string): Promise<Map<string, string>> {
  const bytes = await fileSystemStep('read', path, () => bytesOf(createReadStream(path), maxHtpasswd, path));
  const hashes = new Map<string, string>();
  for (const [position, line] of Buffer.from(bytes).toString('utf8').split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, username, hash] = /^([^:]+):(\$2[aby]\$\d\d\$[./A-Za-z0-9]{53})\s*$/.exec(line) ?? [];
    if (username === undefined || hash === undefined) {
      throw new InvalidOptionError(
        `${path}: line ${position + 1}: expected a user with a bcrypt hash, as htpasswd -B writes it, found something else`,
        { expected: 'user:bcrypt hash' },
      );
    }
    hashes.set(username, hash);
  }
  return hashes;
}

/** Of one length whatever the password's is, so that it can be compared in constant time. */
function fingerprint(username: string, password: string): Buffer {
  return createHash('sha256').update(`${username}\0${password}`).digest();
}
