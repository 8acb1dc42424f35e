import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { executorSchemas, schemaText } from '../src/nx/schemas';

// From lib/executors, where the compiled file lies.
const executors = join(__dirname, '../../executors');

for (const name of Object.keys(executorSchemas)) {
  writeFileSync(join(executors, name, 'schema.json'), schemaText(name));
}
