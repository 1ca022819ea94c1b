// app.ts - Optimized queries
import { Prisma, PrismaClient } from '@prisma/client'
import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'

// Every wait has a limit, in milliseconds
const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  connectionTimeoutMillis: 15_000, // also the wait for one of the pool's
  query_timeout: 12_000,
  statement_timeout: 10_000,
  lock_timeout: 8_000,
  idle_in_transaction_session_timeout: 30_000
})
// An idle connection that is lost is replaced; without this, Node would end
pool.on('error', () => {})
// This adapter writes and reads times without their zone, so a session has to be in UTC
pool.on('connect', (client) => { client.query("SET TIME ZONE 'UTC'").catch(() => {}) })
const prisma = new PrismaClient({
  adapter: new PrismaPg(pool),
  transactionOptions: { maxWait: 15_000, timeout: 15_000 }
})

type Item = { productId: number, quantity: number }

export class BadOrder extends Error {
  code = 'BAD_ORDER'
}

export class OutOfStock extends Error {
  code = 'OUT_OF_STOCK'
}

// Get user with orders and items; null when there is no such user. Throws BadOrder for what is no id
export async function getUserOrders(userId: number) {
  if (!isWhole(userId, LARGEST_ID)) throw new BadOrder('bad user')
  return await prisma.user.findUnique({
    where: { id: userId },
    include: {
      orders: {
        include: {
          items: {
            include: {
              product: {
                select: {
                  name: true,
                  price: true
                }
              }
            }
          }
        },
        orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
        take: 10
      }
    }
  })
}

const isWhole = (value: unknown, most: number) =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most
const LARGEST_ID = 2 ** 31 - 1

// What came from outside, checked: one line for each product, sorted by its id
function checked(userId: number, items: Item[]): Item[] {
  if (!isWhole(userId, LARGEST_ID)) throw new BadOrder('bad user')
  if (!Array.isArray(items) || items.length === 0) throw new BadOrder('an order needs an item')
  const pieces = new Map<number, number>()
  for (const item of items) {
    const { productId, quantity } = item ?? {}
    if (!isWhole(productId, LARGEST_ID) || !isWhole(quantity, 100))
      throw new BadOrder(`bad item: product ${shown(productId)}, quantity ${shown(quantity)}`)
    pieces.set(productId, (pieces.get(productId) ?? 0) + quantity)
  }
  for (const [productId, quantity] of pieces)
    if (quantity > 100) throw new BadOrder(`more than 100 pieces of product ${productId}`)
  return [...pieces]
    .map(([productId, quantity]) => ({ productId, quantity }))
    .sort((a, b) => a.productId - b.productId)
}

const shown = (value: unknown) => typeof value === 'number' ? value : typeof value

// Prisma's code for a lost race is P2034; with this adapter a deadlock comes as PostgreSQL's own
const mayTryAgain = (error: any) =>
  error?.code === 'P2034' || /\b(40001|40P01)\b/.test(String(error?.message))

// Create order with transaction. Throws BadOrder or OutOfStock; then nothing is written. Two calls
// are two orders. P2028 (no connection or no time was left) means that it was rolled back: try it
// again later. A connection that is lost during the commit leaves it open whether there is an order
export async function createOrder(userId: number, items: Item[]) {
  const wanted = checked(userId, items)
  for (let tries = 5; ; tries--) {
    try {
      return await prisma.$transaction((tx) => placeOrder(tx, userId, wanted))
    } catch (error: any) {
      if (error?.code === 'P2003') throw new BadOrder(`there is no user ${userId}`)
      if (tries === 1 || !mayTryAgain(error)) throw error
    }
  }
}

async function placeOrder(tx: Prisma.TransactionClient, userId: number, wanted: Item[]) {
  // Take the pieces, if they are there. Everybody takes products in the same order, and before a
  // line refers to them, so two orders can wait for each other, but never in a circle.
  for (const { productId, quantity } of wanted) {
    const { count } = await tx.product.updateMany({
      where: { id: productId, stock: { gte: quantity } },
      data: { stock: { decrement: quantity } }
    })
    if (count === 0) throw new OutOfStock(`product ${productId}: not ${quantity} in stock`)
  }

  // The rows are locked now: what is read here is what is sold. The less is done from here on, the
  // more customers a product can have in a second, so the order is not read back.
  const products = await tx.product.findMany({
    where: { id: { in: wanted.map(i => i.productId) } },
    select: { id: true, price: true }
  })
  const prices = new Map(products.map(p => [p.id, p.price]))
  const lines = wanted.map(item => ({ ...item, price: prices.get(item.productId)! }))
  const total = lines.reduce(
    (sum, line) => sum.plus(line.price.times(line.quantity)), new Prisma.Decimal(0)
  )
  if (total.greaterThan('99999999.99')) throw new BadOrder(`the total of ${total} is too large`)
  const order = await tx.order.create({ data: { userId, total } })
  await tx.orderItem.createMany({ data: lines.map(line => ({ orderId: order.id, ...line })) })
  return { ...order, items: lines }
}
