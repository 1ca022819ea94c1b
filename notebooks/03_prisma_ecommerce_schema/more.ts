// more.ts - one more query, for the section on statements
import { PrismaClient } from '@prisma/client'
import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL })
const prisma = new PrismaClient({ adapter: new PrismaPg(pool) })

// Every user with the newest order
export async function usersWithNewestOrder() {
  return await prisma.user.findMany({
    include: { orders: { orderBy: { createdAt: 'desc' }, take: 1 } },
    orderBy: { id: 'asc' }
  })
}
