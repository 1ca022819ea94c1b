// app.ts - Optimized queries
import { PrismaClient } from '@prisma/client'
import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL })
const prisma = new PrismaClient({ adapter: new PrismaPg(pool) })

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

// Create order with transaction
export async function createOrder(userId: number, items: Array<{productId: number, quantity: number}>) {
  return await prisma.$transaction(async (tx) => {
    // Calculate total
    const products = await tx.product.findMany({
      where: { id: { in: items.map(i => i.productId) } }
    })
    
    const total = items.reduce((sum, item) => {
      const product = products.find(p => p.id === item.productId)
      return sum + (product ? Number(product.price) * item.quantity : 0)
    }, 0)
    
    // Create order
    const order = await tx.order.create({
      data: {
        userId,
        total,
        status: 'pending',
        items: {
          create: items.map(item => {
            const product = products.find(p => p.id === item.productId)
            return {
              productId: item.productId,
              quantity: item.quantity,
              price: product?.price || 0
            }
          })
        }
      },
      include: {
        items: {
          include: {
            product: true
          }
        }
      }
    })
    
    // Update stock
    for (const item of items) {
      await tx.product.update({
        where: { id: item.productId },
        data: {
          stock: {
            decrement: item.quantity
          }
        }
      })
    }
    
    return order
  })
}
