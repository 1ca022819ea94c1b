// app.ts - Optimized queries
import { Prisma, PrismaClient } from '@prisma/client'
import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL })
const prisma = new PrismaClient({ adapter: new PrismaPg(pool) })

type Item = { productId: number, quantity: number }

export class BadOrder extends Error {
  code = 'BAD_ORDER'
}

export class OutOfStock extends Error {
  code = 'OUT_OF_STOCK'
}

// Get user with orders and items
export async function getUserOrders(userId: number) {
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
        orderBy: { createdAt: 'desc' },
        take: 10
      }
    }
  })
}

// What came from outside, checked: one line for each product, sorted by its id
function checked(items: Item[]): Item[] {
  if (items.length === 0) throw new BadOrder('an order needs an item')
  const pieces = new Map<number, number>()
  for (const { productId, quantity } of items) {
    if (!Number.isInteger(productId) || !Number.isInteger(quantity) || quantity < 1)
      throw new BadOrder(`bad item: product ${productId}, quantity ${quantity}`)
    pieces.set(productId, (pieces.get(productId) ?? 0) + quantity)
  }
  for (const [productId, quantity] of pieces)
    if (quantity > 100) throw new BadOrder(`more than 100 pieces of product ${productId}`)
  return [...pieces]
    .map(([productId, quantity]) => ({ productId, quantity }))
    .sort((a, b) => a.productId - b.productId)
}

// Create order with transaction
export async function createOrder(userId: number, items: Item[]) {
  const wanted = checked(items)
  return await prisma.$transaction(async (tx) => {
    // Take the pieces, if they are there. Everybody takes products in the same order, so two
    // orders can wait for each other, but never in a circle.
    for (const { productId, quantity } of wanted) {
      const { count } = await tx.product.updateMany({
        where: { id: productId, stock: { gte: quantity } },
        data: { stock: { decrement: quantity } }
      })
      if (count === 0) throw new OutOfStock(`product ${productId}: not ${quantity} in stock`)
    }

    // The rows are locked now: what is read here is what is sold
    const products = await tx.product.findMany({
      where: { id: { in: wanted.map(i => i.productId) } }
    })
    const prices = new Map(products.map(p => [p.id, p.price]))
    const lines = wanted.map(item => ({ ...item, price: prices.get(item.productId)! }))
    const total = lines.reduce(
      (sum, line) => sum.plus(line.price.times(line.quantity)), new Prisma.Decimal(0)
    )
    return await tx.order.create({
      data: { userId, total, items: { create: lines } },
      include: { items: { include: { product: true } } }
    })
  })
}
