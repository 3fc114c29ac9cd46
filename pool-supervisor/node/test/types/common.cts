// From CommonJS.
import type { ChildProcess } from 'pool-supervisor' with { 'resolution-mode': 'import' };
export async function go(): Promise<ChildProcess> { const { spawn } = await import('pool-supervisor'); const c = spawn('x'); c.stdout.read(); return c; }
