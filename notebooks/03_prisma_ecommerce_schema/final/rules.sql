-- What a Prisma schema cannot say. Put these lines at the end of the migration's SQL file.
ALTER TABLE "Product" ADD CONSTRAINT "Product_price_check" CHECK (price >= 0);
ALTER TABLE "Product" ADD CONSTRAINT "Product_stock_check" CHECK (stock >= 0);
ALTER TABLE "Order" ADD CONSTRAINT "Order_total_check" CHECK (total >= 0);
ALTER TABLE "OrderItem" ADD CONSTRAINT "OrderItem_quantity_check" CHECK (quantity BETWEEN 1 AND 100);
ALTER TABLE "OrderItem" ADD CONSTRAINT "OrderItem_price_check" CHECK (price >= 0);
ALTER TABLE "CartItem" ADD CONSTRAINT "CartItem_quantity_check" CHECK (quantity BETWEEN 1 AND 100);
