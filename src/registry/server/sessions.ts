import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Refusal } from './errors';
import type { BlobUpload, RegistryStorage } from './storage';

/** How many uploads may be open at once: many more than clients that push to a test registry have. */
const maxSessions = 10_000;

/** After so many milliseconds without a request an upload is forgotten: an hour. */
const abandonedAfter = 3_600_000;

/** An upload that goes over several requests. */
export interface Session {
  readonly id: string;
  readonly repository: string;
  readonly upload: BlobUpload;
}

/** The uploads that are open. */
export interface Sessions {
  /** @throws {Refusal} if there are too many. */
  open(repository: string): Promise<Session>;
  /** @throws {Refusal} if there is none of this name, or it belongs to another repository. */
  find(repository: string, id: string): Session;
  /**
   * Lets one request at a time change an upload. A new one means that its client has given up the one before, which ends:
   * a connection that is gone may look as if it were only slow.
   */
  change<T>(
    repository: string,
    id: string,
    request: IncomingMessage,
    change: (session: Session) => Promise<T>,
  ): Promise<T>;
  forget(session: Session): void;
  /** Cancels them all. */
  close(): Promise<void>;
}

interface OpenSession extends Session {
  /** When it was asked for last, in milliseconds since the epoch. */
  touched: number;
  current?: { readonly request: IncomingMessage; readonly ended: Promise<unknown> };
}

export function createSessions(storage: RegistryStorage): Sessions {
  // The one that was left alone for longest comes first.
  const sessions = new Map<string, OpenSession>();
  const touch = (session: OpenSession): OpenSession => {
    session.touched = Date.now();
    sessions.delete(session.id);
    sessions.set(session.id, session);
    return session;
  };
  const forgetAbandoned = () => {
    for (const { id, upload, touched, current } of sessions.values()) {
      if (touched > Date.now() - abandonedAfter) return;
      if (current) continue;
      sessions.delete(id);
      upload.cancel().catch(() => undefined);
    }
  };
  const find = (repository: string, id: string): OpenSession => {
    const session = sessions.get(id);
    if (session?.repository === repository) return touch(session);
    throw new Refusal(
      404,
      'BLOB_UPLOAD_UNKNOWN',
      `upload ${JSON.stringify(id)}: found none in repository ${repository}; start it again`,
    );
  };
  return {
    async open(repository) {
      forgetAbandoned();
      if (sessions.size >= maxSessions) {
        const headers = { 'retry-after': '60' };
        throw new Refusal(429, 'TOOMANYREQUESTS', `uploads: expected at most ${maxSessions} open at once`, headers);
      }
      return touch({ id: randomUUID(), repository, upload: await storage.startUpload(repository), touched: 0 });
    },
    find,
    async change(repository, id, request, change) {
      let session = find(repository, id);
      for (; session.current; session = find(repository, id)) {
        if (!session.current.request.complete) session.current.request.destroy();
        await session.current.ended;
      }
      const changing = change(session);
      session.current = { request, ended: changing.catch(() => undefined) };
      try {
        return await changing;
      } finally {
        delete session.current;
      }
    },
    forget: ({ id }) => void sessions.delete(id),
    async close() {
      const uploads = [...sessions.values()].map(({ upload }) => upload);
      sessions.clear();
      await Promise.all(uploads.map((upload) => upload.cancel()));
    },
  };
}
