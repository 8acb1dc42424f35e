import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';

/** The packages of the workspace that the application may depend on, and where they are built. */
const workspacePackages: Readonly<Record<string, string>> = { '@examples/greeting': 'dist/examples/greeting' };

const [app] = process.argv.slice(2);
if (app === undefined) throw new Error('usage: deploy.js <directory>');
deploy(app);

/**
 * Lays out what runs in production: the application, the packages of the workspace and links to them, the third-party
 * packages. It is what `npm ci --omit=dev` makes in a workspace of npm, without a registry.
 */
function deploy(app: string): void {
  rmSync(app, { recursive: true, force: true });
  cpSync(join(__dirname, 'src'), app, { recursive: true });
  cpSync('examples/api/package.json', join(app, 'package.json'));
  addDependencies('examples/api', join(app, 'node_modules'), app);
}

function addDependencies(of: string, modules: string, app: string): void {
  for (const name of dependenciesOf(of)) {
    const installed = join(modules, name);
    if (existsSync(installed)) continue;
    mkdirSync(dirname(installed), { recursive: true });
    const built = workspacePackages[name];
    const source = built ?? join('node_modules', name);
    const place = built === undefined ? installed : join(app, 'packages', basename(name));
    cpSync(source, place, { recursive: true, dereference: true });
    if (place !== installed) symlinkSync(relative(dirname(installed), place), installed);
    addDependencies(source, modules, app);
  }
}

function dependenciesOf(directory: string): string[] {
  const { dependencies = {} } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  return Object.keys(dependencies);
}
