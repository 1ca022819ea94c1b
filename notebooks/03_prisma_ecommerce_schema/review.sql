-- What Prisma makes of this model. Printed by its own schema engine (prisma 6.16.3).
--
-- model Review {
--   id        Int      @id @default(autoincrement())
--   productId Int
--   stars     Int      @default(5)
--   text      String?
--   createdAt DateTime @default(now())
--   product   Product  @relation(fields: [productId], references: [id], onDelete: Cascade)
--   @@unique([productId, createdAt])
--   @@index([stars(sort: Desc)])
-- }
CREATE TABLE "Review" (
    "id" SERIAL NOT NULL,
    "productId" INTEGER NOT NULL,
    "stars" INTEGER NOT NULL DEFAULT 5,
    "text" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "Review_pkey" PRIMARY KEY ("id")
);
CREATE INDEX "Review_stars_idx" ON "Review"("stars" DESC);
CREATE UNIQUE INDEX "Review_productId_createdAt_key" ON "Review"("productId", "createdAt");
ALTER TABLE "Review" ADD CONSTRAINT "Review_productId_fkey" FOREIGN KEY ("productId") REFERENCES "Product"("id") ON DELETE CASCADE ON UPDATE CASCADE;
