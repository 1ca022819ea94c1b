// Calls functions of a TypeScript file for Python: JSON comes in, JSON goes out (prisma_node.py).
//
// Prisma 5 has its query engine as a native library, which it downloads, and as WebAssembly,
// which is in its package. The two hooks are for the second: they say where the generated client
// is, and make an imported .wasm file a WebAssembly.Module.
import { readFileSync } from 'node:fs'
import { createRequire, registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

const { packages, client, app, calls, schema } = JSON.parse(readFileSync(0, 'utf8'))
const appURL = pathToFileURL(app).href
const packagesURL = pathToFileURL(`${packages}/package.json`).href

registerHooks({
  resolve(name, context, next) {
    if (name === '@prisma/client') return next(pathToFileURL(`${client}/wasm.js`).href, context)
    if ([appURL, import.meta.url].includes(context.parentURL) && /^[@a-z][^:]*$/.test(name))
      return next(name, { ...context, parentURL: packagesURL })
    return next(name, context)
  },
  load(url, context, next) {
    if (!url.endsWith('.wasm')) return next(url, context)
    const source = `import { readFileSync } from 'node:fs'
      export default new WebAssembly.Module(readFileSync(new URL(${JSON.stringify(url)})))`
    return { format: 'module', source, shortCircuit: true }
  },
})

// Note every statement that leaves for PostgreSQL.
const sql = []
const { Client } = createRequire(packagesURL)('pg')
const { query } = Client.prototype
Client.prototype.query = function (statement, ...rest) {
  sql.push(statement.text ?? statement)
  return query.call(this, statement, ...rest)
}

// Where lessons have schemas instead of databases, the tables are not in "public".
const { PrismaPg } = await import('@prisma/adapter-pg')
const { getConnectionInfo } = PrismaPg.prototype
PrismaPg.prototype.getConnectionInfo = function () {
  this.options = { ...this.options, schema }
  return getConnectionInfo.call(this)
}

const functions = await import(appURL)

// All calls start at the same time.
const answers = await Promise.all(
  calls.map(async ([name, ...args]) => {
    try {
      return { value: await functions[name](...args) }
    } catch (error) {
      return { code: error.code ?? error.name, message: error.message }
    }
  }),
)
process.stdout.write(JSON.stringify({ answers, sql }), () => process.exit())
