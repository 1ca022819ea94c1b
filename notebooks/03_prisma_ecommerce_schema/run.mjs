// Calls functions of a TypeScript file for Python: JSON in, JSON out. See prisma_node.py.
//
// Prisma 5 loads its query engine either as a native library, which it downloads, or as
// WebAssembly, which its package holds. The hooks below are for the second way: they say where
// the generated client is, and turn an imported .wasm file into a WebAssembly.Module.
import { readFileSync } from 'node:fs'
import { createRequire, registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

const { packages, client, file, calls, parallel } = JSON.parse(readFileSync(0, 'utf8'))
const installed = pathToFileURL(`${packages}/`).href

registerHooks({
  resolve(name, context, next) {
    if (name === '@prisma/client') return next(pathToFileURL(`${client}/wasm.js`).href, context)
    if (/^[@a-z]/.test(name) && !name.includes(':') && context.parentURL === pathToFileURL(file).href)
      return next(name, { ...context, parentURL: installed })
    return next(name, context)
  },
  load(url, context, next) {
    if (!url.endsWith('.wasm')) return next(url, context)
    const source = `import { readFileSync } from 'node:fs'
      export default new WebAssembly.Module(readFileSync(new URL(${JSON.stringify(url)})))`
    return { format: 'module', source, shortCircuit: true }
  },
})

// Every statement that leaves for PostgreSQL.
let sql = []
const { Client } = createRequire(installed)('pg')
const { query } = Client.prototype
Client.prototype.query = function (config, ...rest) {
  sql.push(typeof config === 'string' ? config : config.text)
  return query.call(this, config, ...rest)
}

const app = await import(pathToFileURL(file).href)

async function call([name, ...args]) {
  try {
    return { value: await app[name](...args) }
  } catch (error) {
    return { error: error.code ?? error.name, message: String(error.message) }
  }
}

let answers
if (parallel) {
  answers = await Promise.all(calls.map(call))
} else {
  answers = []
  for (const one of calls) answers.push(await call(one))
}
process.stdout.write(JSON.stringify({ answers, sql }), () => process.exit(0))
