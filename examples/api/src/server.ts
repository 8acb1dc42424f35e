import { createServer, type Server } from 'node:http';
import { greeting } from '@examples/greeting';
import * as z from 'zod';

const query = z.object({ name: z.string().min(1).max(40).default('world') });

/** Answers `GET /?name=Ada` with a greeting. */
export function createApi(): Server {
  return createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '/', 'http://api');
    const { success, data, error } = query.safeParse(Object.fromEntries(searchParams));
    response.writeHead(success ? 200 : 400, { 'content-type': 'text/plain; charset=utf-8' });
    response.end(`${success ? greeting(data.name) : z.prettifyError(error)}\n`);
  });
}
